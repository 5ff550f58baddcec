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

// answeredWhenTaken has the backend refuse the event of each request. A caller with patience is answered when the
// backend takes the event. One without gets an error that says what holds: the request was done.
func answeredWhenTaken(e *env) {
	var refuses atomic.Value // the type of event that is refused
	refuses.Store(libcontainerd.EventType(""))
	refused := make(chan struct{}, 1)
	e.recorder.OnEvent = func(ev libcontainerd.Event) error {
		if ev.Type != refuses.Load() {
			return nil
		}
		select {
		case refused <- struct{}{}:
		default:
		}
		return errors.New("not now")
	}
	refuse := func(t libcontainerd.EventType) {
		refuses.Store(t)
		select {
		case <-refused: // of the last one
		default:
		}
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
		refuse(request.event)
		ctx, cancel := context.WithCancel(e.ctx)
		answered := make(chan error, 1)
		go func() { answered <- request.do(ctx) }()
		e.await("a refusal", refused)
		cancel()
		err := <-answered
		if !errors.Is(err, libcontainerd.ErrNotTaken) || !errors.Is(err, context.Canceled) || events() != before {
			e.Fatalf("%v: %v; %d events, then %d", request.event, err, before, events())
		}
		refuse("")
		request.undo()

		before = events()
		refuse(request.event)
		go func() { answered <- request.do(e.ctx) }()
		e.await("a refusal", refused)
		select {
		case err := <-answered:
			e.Fatalf("%v was answered before: %v", request.event, err)
		case <-time.After(10 * time.Millisecond):
		}
		refuse("")
		if err := <-answered; err != nil || events() != before+1 {
			e.Fatalf("%v: %v; %d events, then %d", request.event, err, before, events())
		}
	}
}
