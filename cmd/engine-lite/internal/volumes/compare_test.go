package volumes

import (
	"slices"
	"strings"
	"testing"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// TestComparison finds a volume whose record or whose events are missing, and a container whose volume is missing.
func TestComparison(t *testing.T) {
	e := newEngine(t)
	e.add("kept", nil)
	e.add("gone", nil)
	must(t, e.api.VolumeRemove(t.Context(), "gone", false))
	r := e.create("c", vol("kept", "/k"))
	findings := func() []string {
		t.Helper()
		found, err := store.Check(t.Context(), e.store, slices.Concat(record.Kinds(), Kinds()), NewComparison())
		must(t, err)
		return found
	}
	if got := findings(); len(got) > 0 {
		t.Errorf("in a sound journal: %q", got)
	}
	must(t, e.store.Update(t.Context(), func(tx *store.Tx) error {
		Records.Delete(tx, "kept")
		return Records.Put(tx, "gone", Volume{Name: "gone", Driver: driverLocal})
	}))
	got := findings()
	for _, want := range []string{`of volume kept; does the volume exist: false`, `"destroy" of volume gone`, "container " + r.ID + " has the volume kept"} {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("no finding says %s: %q", want, got)
		}
	}
	if len(got) != 3 {
		t.Errorf("%q", got)
	}
}
