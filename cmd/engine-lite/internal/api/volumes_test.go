package api

import (
	"slices"
	"testing"
)

// TestVolumesByVersion has prune remove all volumes for clients before 1.42, and a cluster's volumes refused after
// that.
func TestVolumesByVersion(t *testing.T) {
	for _, c := range []struct {
		path, body string
		status     int
		called     string
	}{
		{"/v1.41/volumes/prune", "", 200, "volumesPrune[map[all:[true]]]"},
		{`/v1.41/volumes/prune?filters={"all":["false"]}`, "", 200, "volumesPrune[map[all:[false true]]]"},
		{`/v1.41/volumes/prune?filters={"all":["true"]}`, "", 200, "volumesPrune[map[all:[true]]]"},
		{"/v1.42/volumes/prune", "", 200, "volumesPrune[map[]]"},
		{"/volumes/prune?filters=x", "", 400, ""},
		{"/v1.41/volumes/create", `{"Name":"v","ClusterVolumeSpec":{}}`, 201, "volumeCreate[v  map[] map[]]"},
		{"/v1.42/volumes/create", `{"Name":"v","ClusterVolumeSpec":{}}`, 501, ""},
		{"/volumes/create", "", 201, "volumeCreate[  map[] map[]]"},
		{"/volumes/create", "{", 400, ""},
	} {
		f := &fake{}
		a := newDaemon(t, f).do(post, c.path, c.body)
		want := []string{c.called}
		if c.called == "" {
			want = nil
		}
		if got := f.noted(); a.status != c.status || !slices.Equal(got, want) {
			t.Errorf("%s %s: %d %s, %q", c.path, c.body, a.status, a.body, got)
		}
	}
}
