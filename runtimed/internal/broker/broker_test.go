package broker

import (
	"testing"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/errdefs"
)

// A subscriber that doesn't read loses its subscription. The others lose nothing.
func TestSlowSubscriber(t *testing.T) {
	b := New()
	slow, good := b.Subscribe(), b.Subscribe()
	defer slow.Close()
	defer good.Close()
	for i := range backlog + 1 {
		if err := b.Publish("ns", "/tasks/oom", &events.TaskOOM{}); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 0 {
			if _, err := good.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := slow.Next(t.Context()); !errdefs.IsResourceExhausted(err) {
		t.Fatalf("slow subscriber: %v", err)
	}
	if queue, err := good.Next(t.Context()); err != nil || len(queue) == 0 {
		t.Fatalf("good subscriber: %d events, %v", len(queue), err)
	}
}
