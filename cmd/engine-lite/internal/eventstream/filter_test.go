package eventstream

import (
	"strings"
	"testing"

	"github.com/moby/moby/api/types/events"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
)

func TestEventFilters(t *testing.T) {
	m := events.Message{
		Type: "container", Action: "exec_create: ls -l", Scope: "local",
		Actor: events.Actor{ID: "abcdef",
			Attributes: map[string]string{"name": "web", "image": "reg:5000/a/box:1", "color": "red", "empty": ""}},
	}
	for f, want := range map[string]bool{
		"": true, "event=exec_create": true, "event=exec_create: ls -l": true, "event=exec": false,
		"type=container": true, "type=image": false, "scope=local": true, "scope=swarm": false,
		"container=abc": true, "container=web": true, "container=/web": true, "container=we": false,
		"image=box": false, "image=box:1": false, "image=bo": false, "image=reg:5000/a/box": true,
		"image=reg:5000/a/box:1": true,
		"event=health_status":    false, "daemon=host": false, "plugin=web": false, "label=color": true,
		"label=color=red": true, "label=color=blue": false, "label=empty=": true, "label=none": false,
		"network=x": false, "volume=x": false,
	} {
		filters := filters.Filters{}
		for name, value, ok := strings.Cut(f, "="); ok; ok = false {
			filters[name] = []string{value}
		}
		if got := matches(m, filters); got != want {
			t.Errorf("%q: %v", f, got)
		}
	}
	m = events.Message{Type: "volume", Action: "mount", Actor: events.Actor{ID: "web"}}
	for value, want := range map[string]bool{"web": true, "we": true, "web2": false} {
		if got := matches(m, filters.Filters{"volume": {value}}); got != want {
			t.Errorf("volume=%s: %v", value, got)
		}
	}
	m.Type = "container"
	if matches(m, filters.Filters{"volume": {"web"}}) {
		t.Error("a container is no volume")
	}
}

// TestSeveralValues has one value of a filter pass, except for labels.
func TestSeveralValues(t *testing.T) {
	m := events.Message{Type: "container", Action: "exec_create: ls -l", Actor: events.Actor{Attributes: map[string]string{"color": "red"}}}
	if !matches(m, filters.Filters{"event": {"start", "exec_create"}}) ||
		matches(m, filters.Filters{"label": {"color", "none"}}) {
		t.Error("one value of a filter is enough, but for labels")
	}
}
