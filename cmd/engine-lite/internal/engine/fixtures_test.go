package engine

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// The records below testdata/v1 are from the journal of the first release. Today's engine
// reads all of them, and loses nothing when it writes them again.
func TestRecordsV1(t *testing.T) {
	read := func(name string) []byte {
		data, err := os.ReadFile("testdata/v1/" + name)
		must(t, err)
		return data
	}
	raw := read("container.json")
	r := new(record.Record)
	must(t, store.Unmarshal(raw, r))
	if r.Status != record.StatusRunning || r.Pid != 1001 || r.Generation != 3 || r.Exits != 2 ||
		r.ExitUnknown != "a reason" ||
		!r.StartedAt.Equal(time.Date(2026, 1, 1, 0, 0, 2, 0, time.UTC)) || r.HostConfig.Memory != 64<<20 ||
		r.Config.Labels["a"] != "b" ||
		r.Health.Status != "healthy" || r.Health.Log[0].ExitCode != 1 || r.Health.Due.Second() != 35 {
		t.Errorf("%+v", r)
	}
	unchanged(t, raw, r)
	var x record.Exec
	raw = read("exec.json")
	must(t, store.Unmarshal(raw, &x))
	if x.Container != r.ID || x.Pid != 1002 || !x.Request.Tty || x.Request.User != "1:2" {
		t.Errorf("%+v", x)
	}
	unchanged(t, raw, x)
}

// unchanged checks that all fields of a recorded JSON object are written again.
func unchanged(t *testing.T, recorded []byte, v any) {
	t.Helper()
	again, err := store.Marshal(v)
	must(t, err)
	var was, is map[string]any
	must(t, json.Unmarshal(recorded, &was))
	must(t, json.Unmarshal(again, &is))
	contains(t, "", is, was)
}

func contains(t *testing.T, path string, is, was map[string]any) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(was)) {
		inner, ok := was[key].(map[string]any)
		now, same := is[key].(map[string]any)
		switch {
		case ok && same:
			contains(t, path+"."+key, now, inner)
		case !reflect.DeepEqual(is[key], was[key]):
			t.Errorf("%s.%s is %v, was %v", path, key, is[key], was[key])
		}
	}
}
