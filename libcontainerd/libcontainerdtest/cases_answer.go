package libcontainerdtest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// answeredWhenTaken has the backend refuse the event of each request. A caller with patience is answered when the backend
// takes the event. One without gets an error that says what holds: the request was done.
func answeredWhenTaken(e *env) {
	var refuses atomic.Bool
	e.recorder.OnEvent = func(libcontainerd.Event) error {
		if refuses.Load() {
			return errors.New("not now")
		}
		return nil
	}
	ctr := e.create("sleep 1000")
	execs := 0
	for _, request := range []struct {
		event libcontainerd.EventType
		do    func(ctx context.Context) error
		undo  func()
	}{
		{libcontainerd.EventStart, func(ctx context.Context) error {
			_, err := ctr.Start(ctx, libcontainerd.StartOptions{})
			return err
		}, func() {
			e.must(ctr.KillAll(e.ctx, syscall.SIGKILL))
			e.exits(ctr, initProcess, 137)
		}},
		{libcontainerd.EventPaused, ctr.Pause, func() { e.must(ctr.Resume(e.ctx)) }},
		{libcontainerd.EventResumed, ctr.Resume, func() { e.must(ctr.Pause(e.ctx)) }},
		{libcontainerd.EventExecStarted, func(ctx context.Context) error {
			execs++
			_, err := ctr.Exec(ctx, fmt.Sprintf("e%d", execs), e.Process("sleep 1000"), libcontainerd.StdioConfig{})
			return err
		}, func() { e.awaitEvent(ctr, libcontainerd.EventExecStarted) }},
	} {
		events := func() (n int) {
			for _, t := range Types(e.recorder.Events(ctr.ID())) {
				if t == request.event {
					n++
				}
			}
			return n
		}
		before := events()
		refuses.Store(true)
		ctx, cancel := context.WithTimeout(e.ctx, 300*time.Millisecond)
		err := request.do(ctx)
		cancel()
		if !errors.Is(err, libcontainerd.ErrNotTaken) || !errors.Is(err, context.DeadlineExceeded) || events() != before {
			e.Fatalf("%v: %v; %d events, then %d", request.event, err, before, events())
		}
		refuses.Store(false)
		request.undo()

		before = events()
		refuses.Store(true)
		answered := make(chan error, 1)
		go func() { answered <- request.do(e.ctx) }()
		select {
		case err := <-answered:
			e.Fatalf("%v was answered before: %v", request.event, err)
		case <-time.After(300 * time.Millisecond):
		}
		refuses.Store(false)
		if err := <-answered; err != nil || events() != before+1 {
			e.Fatalf("%v: %v; %d events, then %d", request.event, err, before, events())
		}
	}
}
