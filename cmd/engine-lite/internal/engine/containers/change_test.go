package containers

import (
	"fmt"
	"strings"
	"testing"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// TestEventFits checks that no event is too large for the journal, whatever a user has chosen.
func TestEventFits(t *testing.T) {
	many := map[string]string{}
	for i := range 100_000 {
		many[fmt.Sprintf("key-%d", i)] = "value"
	}
	for name, c := range map[string]struct {
		labels map[string]string
		action string
	}{
		"usual":         {map[string]string{"a": "b"}, "die"},
		"a long action": {map[string]string{"a": "b"}, "exec_create: " + strings.Repeat("\u00e4", 1<<20)},
		"a long label":  {map[string]string{"a": strings.Repeat("x", 2<<20), "b": "short"}, "die"},
		"many labels":   {many, "die"},
	} {
		r := &record.Record{ID: "id", Name: "n", ImageName: "i", Config: &record.Config{Labels: c.labels}}
		ev := Event(r, Change{Action: c.action, Attributes: func(*record.Record) map[string]string {
			return map[string]string{"exitCode": "3"}
		}})
		size := len(ev.Action)
		for key, value := range ev.Attributes {
			size += len(key) + len(value) + 8
		}
		if size > 1<<20-1000 {
			t.Errorf("%s: an event of %d bytes", name, size)
		}
		if ev.Attributes["exitCode"] != "3" || ev.Attributes["name"] != "n" {
			t.Errorf("%s: the event has lost its own attributes", name)
		}
		if name == "usual" && (ev.Attributes["a"] != "b" || ev.Action != "die") {
			t.Errorf("%s: %+v", name, ev)
		}
		if !strings.HasPrefix(c.action, strings.TrimSuffix(ev.Action, "...")) {
			t.Errorf("%s: the action is cut in the middle of a character", name)
		}
	}
}
