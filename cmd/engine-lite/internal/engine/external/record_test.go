package external

import (
	"strings"
	"testing"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/ocilog"
)

// TestUnknownFieldsStay checks that a record keeps what a newer release has written into it,
// also in the container's state.
func TestUnknownFieldsStay(t *testing.T) {
	const newer = `{"Schema":1,"State":{"Container":{"run":"r","id":"i","root":"","runtime":"","bundle":""},"Created":true,"NewInState":{"x":1}},"Offset":7,"New":[2]}`
	var r Record
	if err := store.Unmarshal([]byte(newer), &r); err != nil {
		t.Fatal(err)
	}
	if r.State.Container.ID != "i" || !r.State.Created || r.Offset != 7 {
		t.Fatalf("got %+v", r)
	}
	r.State.Add(ocilog.Line{Action: ocilog.Destroy, Step: ocilog.Done})
	raw, err := store.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"NewInState":{"x":1}`, `"New":[2]`, `"Destroyed":true`, `"id":"i"`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("%s is not in %s", want, raw)
		}
	}
	if strings.Contains(string(raw), "Unknown") {
		t.Errorf("a field of ours is in the way: %s", raw)
	}
}
