package events_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/engine-lite/engine-lite/events"
)

// daemon stands in for an engine-lite daemon, which has two events of one container.
func daemon(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Engine-Lite-Journal", "journal-1")
	_, _ = fmt.Fprint(w, `id: 1
data: {"Type":"container","Action":"start","Actor":{"ID":"web"},"seq":1}

id: 2
data: {"Type":"container","Action":"die","Actor":{"ID":"web","Attributes":{"exitCode":"7"}},"seq":2}

`)
}

// A consumer prints all events that the daemon has, and ends after a container's exit. A
// consumer of a real daemon begins with events.Unix("/run/engine-lite/engine.sock"), and
// stores its position in an events.File, so that it continues there when it is restarted.
func ExampleConsume() {
	server := httptest.NewServer(http.HandlerFunc(daemon))
	defer server.Close()
	client := &events.Client{HTTP: server.Client(), URL: server.URL}
	defer client.Close()
	ctx, stop := context.WithCancelCause(context.Background())
	var cursor events.Memory
	err := events.Consume(ctx, client, &cursor, func(e events.Event) error {
		fmt.Printf("%d: %s %s %s\n", e.Seq, e.Type, e.ID, e.Action)
		if e.Action == "die" {
			stop(fmt.Errorf("the container has exited with %s", e.Attributes["exitCode"]))
		}
		return nil
	})
	fmt.Println("consume:", err)
	fmt.Println("position:", cursor.Journal, cursor.Seq)
	// Output:
	// 1: container web start
	// 2: container web die
	// consume: the container has exited with 7
	// position: journal-1 2
}
