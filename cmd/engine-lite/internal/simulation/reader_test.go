package simulation

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/eventstream"
)

// reader consumes the event stream from the first event on. After the end of an engine it
// goes on with the next one, from its last position. It ends with its context.
type reader struct {
	w    *world
	name string
	slow bool

	mu sync.Mutex
	at uint64
}

func (r *reader) position() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

func (r *reader) run(ctx context.Context) {
	for ctx.Err() == nil {
		i := r.w.running(ctx, r.name)
		if i == nil {
			return
		}
		_, err := do(i, func(_ context.Context, e *engine.Engine) (struct{}, error) {
			calls, cancel := context.WithCancel(i.attachContext)
			defer context.AfterFunc(ctx, cancel)()
			defer cancel()
			after := r.position()
			return struct{}{}, e.Events(calls, eventstream.Options{After: &after},
				func(ev eventstream.Event) error { return r.take(i, ev) })
		})
		r.w.note("reader", r.name+" was ended", fmt.Sprint(r.position()))
		if err != nil && !i.isEnding() && ctx.Err() == nil {
			r.w.violation("the %s reader, after event %d: %v", r.name, r.position(), err)
			return
		}
		sleep(ctx, r.w.dice("reader "+r.name).between(time.Millisecond, time.Second))
	}
}

// take checks that no event is missing or repeated, and that each is the one that was
// committed.
func (r *reader) take(i *engineInstance, ev eventstream.Event) error {
	longest := time.Millisecond
	if r.slow && !r.w.noFaults.Load() {
		longest = 3 * time.Second
	}
	r.w.delay(context.Background(), "reader", r.name,
		func(d *dice) time.Duration { return d.between(time.Microsecond, longest) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if i.isEnding() {
		return errCrashed // the next engine sends this event again
	}
	r.w.model.read(i.journal) // the event may come before its commit has returned
	committed, ok := r.w.model.event(ev.Seq)
	if ev.Seq != r.at+1 || !ok || committed != (eventKey{string(ev.Action), ev.Actor.ID}) {
		r.w.violation("the %s reader has %d, %s, after %d; committed is %+v", r.name, ev.Seq, ev.Action, r.at,
			committed)
	}
	r.w.portsAfter(ev)
	r.at = ev.Seq
	return nil
}
