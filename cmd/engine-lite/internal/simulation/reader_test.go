package simulation

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/eventstream"
)

// reader consumes the event stream, from the first event on, engine after
// engine, each from where it got to. It ends with its context.
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
			calls, cancel := context.WithCancel(i.attached)
			defer context.AfterFunc(ctx, cancel)()
			defer cancel()
			after := r.position()
			return struct{}{}, e.Events(calls, eventstream.Options{After: &after}, func(ev eventstream.Event) error { return r.take(i, ev) })
		})
		r.w.note("reader", r.name+" was ended", fmt.Sprint(r.position()))
		if err != nil && !i.leaving() && ctx.Err() == nil {
			r.w.wrong("the %s reader, after event %d: %v", r.name, r.position(), err)
			return
		}
		pass(ctx, r.w.dice("reader "+r.name).between(time.Millisecond, time.Second))
	}
}

// take checks that no event is missing, repeated or another one than was
// committed.
func (r *reader) take(i *incarnation, ev eventstream.Event) error {
	longest := time.Millisecond
	if r.slow && !r.w.calm.Load() {
		longest = 3 * time.Second
	}
	r.w.travel(context.Background(), "reader", r.name, func(d *dice) time.Duration { return d.between(time.Microsecond, longest) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if i.leaving() {
		return errCrashed // what comes now comes again
	}
	r.w.ledger.read(i.journal) // it may be told before its commit returns
	committed, ok := r.w.ledger.at(ev.Seq)
	if ev.Seq != r.at+1 || !ok || committed != (told{string(ev.Action), ev.Actor.ID}) {
		r.w.wrong("the %s reader has %d, %s, after %d; committed is %+v", r.name, ev.Seq, ev.Action, r.at, committed)
	}
	r.at = ev.Seq
	return nil
}
