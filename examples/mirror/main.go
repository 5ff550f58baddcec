// Command mirror is an example of a program that consumes engine-lite's events. It
// keeps a copy of the status of all containers, and prints a line for each change. It
// may be started at any time, and the engine may be killed and started again meanwhile:
// the last line about a container always has the container's current status.
//
//	mirror [--socket PATH]
//
//	0d23bb28d126 created hardy_coral
//	0d23bb28d126 running hardy_coral
//	0d23bb28d126 exited hardy_coral
//	0d23bb28d126 removed hardy_coral
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/engine-lite/engine-lite/events"
)

func main() {
	socket := flag.String("socket", "/run/engine-lite/engine.sock", "the engine's socket")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	m := &mirror{client: events.Unix(*socket), out: os.Stdout}
	defer m.client.Close()
	if err := m.run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "mirror:", err)
		os.Exit(1)
	}
}

// run mirrors until ctx ends. If the engine no longer has the next event, run begins
// again with the current state.
func (m *mirror) run(ctx context.Context) error {
	for {
		at, err := m.begin(ctx)
		if err != nil {
			return err
		}
		cursor := events.Memory(at)
		err = events.Consume(ctx, m.client, &cursor, m.apply)
		var gone *events.GoneError
		if !errors.As(err, &gone) {
			return err
		}
	}
}
