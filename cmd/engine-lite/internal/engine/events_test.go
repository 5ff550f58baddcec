package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/eventstream"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// collect returns the actions that a subscriber with these options gets.
func (r *rig) collect(opts eventstream.Options) []string {
	r.t.Helper()
	var got []string
	must(r.t, r.e.Events(r.t.Context(), opts, func(ev eventstream.Event) error {
		got = append(got, string(ev.Action))
		return nil
	}))
	return got
}

func TestEventsSinceAndUntil(t *testing.T) {
	r := newRig(t)
	begin := time.Now()
	id := r.run("one", "exit 0")
	r.ended(id)
	middle := time.Now()
	must(t, r.e.ContainerRename(t.Context(), id, "two"))
	all := []string{"create", "start", "die", "rename"}
	if got := r.collect(eventstream.Options{Since: begin, Until: time.Now()}); !slices.Equal(got, all) {
		t.Errorf("all: %v", got)
	}
	if got := r.collect(eventstream.Options{Since: begin, Until: middle}); !slices.Equal(got, all[:3]) {
		t.Errorf("until the middle: %v", got)
	}
	if got := r.collect(eventstream.Options{Since: middle,
		Until: time.Now().Add(50 * time.Millisecond)}); !slices.Equal(got, all[3:]) {
		t.Errorf("since the middle: %v", got)
	}
	if got := r.collect(eventstream.Options{Until: begin}); !slices.Equal(got, []string{"tag", "import"}) {
		t.Errorf("all of the past: %v", got)
	}
	if got := r.collect(eventstream.Options{Since: begin, Until: begin}); len(got) != 0 {
		t.Errorf("nothing: %v", got)
	}
	broken := errors.New("broken pipe")
	if err := r.e.Events(t.Context(), eventstream.Options{Since: begin},
		func(eventstream.Event) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a client that fails: %v", err)
	}
	if err := r.e.Events(t.Context(),
		eventstream.Options{Filters: filters.Filters{"nope": {"x"}}}, nil); !errdefs.IsInvalidArgument(err) {
		t.Errorf("unknown filter: %v", err)
	}
}

// No exit is announced before the last output is in the log, whether a subscriber follows
// or reads past events.
func TestDieComesAfterTheOutput(t *testing.T) {
	r := newRig(t)
	id := r.create("", "echo all of it")
	o := r.task(id)
	for _, until := range []time.Time{{}, time.Now().Add(20 * time.Second)} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		from := r.e.store.Newest()
		go func() {
			done <- r.e.Events(ctx, eventstream.Options{After: &from, Until: until}, func(ev eventstream.Event) error {
				if ev.Action == "die" && o.View().Announced != o.View().Record.Exits {
					t.Error("the exit was announced before the output was drained")
				}
				if ev.Action == "die" {
					cancel()
				}
				return nil
			})
		}()
		next := r.wait(id, container.WaitConditionNextExit)
		must(t, r.e.ContainerStart(t.Context(), id))
		receive(t, next)
		if err := receive(t, done); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func TestDeliveryHoldCoversThePast(t *testing.T) {
	r := newRig(t)
	id := r.create("", "exit 0")
	begin := time.Now()
	_, seq, err := r.task(id).Commit(t.Context(),
		containers.Change{Action: "die", Hold: true, Mutate: func(*record.Record) error { return nil }})
	must(t, err)
	got := make(chan []string, 1)
	go func() { got <- r.collect(eventstream.Options{Since: begin, Until: time.Now()}) }()
	select {
	case list := <-got:
		t.Errorf("events while held back: %v", list)
	case <-time.After(20 * time.Millisecond):
	}
	r.e.store.Release(seq)
	if list := receive(t, got); !slices.Equal(list, []string{"die"}) {
		t.Errorf("%v", list)
	}
}

// A commit that fails holds nothing back.
func TestFailedCommitHoldsNothing(t *testing.T) {
	r := newRig(t)
	o := r.task(r.create("", "exit 0"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []containers.Change{
		{Action: "die", Hold: true, Mutate: func(*record.Record) error { return containers.ErrUnchanged }},
		{Action: "die", Hold: true, Mutate: func(*record.Record) error { return nil },
			Also: func(*store.Tx, *record.Record) error { return containers.ErrUnchanged }},
	} {
		if _, _, err := o.Commit(t.Context(), c); !errors.Is(err, containers.ErrUnchanged) {
			t.Errorf("%v", err)
		}
	}
	if _, _, err := o.Commit(ctx,
		containers.Change{Action: "die", Hold: true, Mutate: func(*record.Record) error { return nil }}); err == nil {
		t.Error("committed for a client that is gone")
	}
	if r.e.store.Held() != 0 {
		t.Errorf("%d events are held", r.e.store.Held())
	}
}

// A client without filters gets the journal's numbers without a gap.
func TestEventNumbers(t *testing.T) {
	r := newRig(t)
	for i := range 3 {
		r.ended(r.run(fmt.Sprint("c", i), "exit 0"))
	}
	var last uint64
	must(t, r.e.Events(t.Context(), eventstream.Options{Since: time.Unix(1, 0), Until: time.Now()},
		func(ev eventstream.Event) error {
			if ev.Seq != last+1 {
				t.Errorf("%d after %d", ev.Seq, last)
			}
			last = ev.Seq
			return nil
		}))
	if last != r.e.store.Newest() {
		t.Errorf("%d of %d", last, r.e.store.Newest())
	}
}

// A client that gives a number gets the events after that number. It learns of events that
// are gone, and is refused if the journal can't go on from the number.
func TestEventsAfterNumber(t *testing.T) {
	r := newRig(t)
	id := r.run("one", "exit 0")
	r.ended(id)
	var numbers, skipped []uint64
	var at eventstream.Position
	first := uint64(0)
	must(t, r.e.Events(t.Context(), eventstream.Options{
		After: &first, Until: time.Now(), Filters: filters.Filters{"event": {"start", "die"}},
		Begin: func(p eventstream.Position) { at = p }, Omit: func(seq uint64) { skipped = append(skipped, seq) },
	}, func(ev eventstream.Event) error {
		numbers = append(numbers, ev.Seq)
		if ev.Generation != 1 {
			t.Errorf("%+v", ev)
		}
		return nil
	}))
	if at.Journal != r.e.store.ID() || at.Newest != r.e.store.Newest() || len(numbers) != 2 ||
		len(numbers)+len(skipped) != int(at.Newest) {
		t.Errorf("at %+v: %v, skipped %v", at, numbers, skipped)
	}
	for what, o := range map[string]eventstream.Options{
		"ahead":         {After: new(at.Newest + 1)},
		"other journal": {After: new(at.Newest), Journal: "other"},
	} {
		var gone *eventstream.HistoryGoneError
		err := r.e.Events(t.Context(), o, func(eventstream.Event) error { return errors.New("an event") })
		if !errors.As(err, &gone) || gone.Position != at || gone.Oldest != 1 {
			t.Errorf("%s: %v, %+v", what, err, gone)
		}
	}
	o := eventstream.Options{After: &at.Newest, Journal: at.Journal, Until: time.Now()}
	if err := r.e.Events(t.Context(), o, nil); err != nil {
		t.Errorf("the newest: %v", err)
	}
}
