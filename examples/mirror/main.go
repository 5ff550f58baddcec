// Command mirror shows what a consumer of engine-lite's events can rely on: it
// keeps a copy of the state of all containers and prints each change of it, a
// line each. It may be started at any time, and the engine may be killed and
// started again meanwhile: its last line about a container is the truth.
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

// run mirrors until ctx ends. Where the engine no longer keeps what comes next,
// it begins anew.
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
