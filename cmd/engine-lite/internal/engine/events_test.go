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
	"github.com/moby/moby/api/types/events"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// collect returns the actions that a subscriber with these options is told.
func (r *rig) collect(opts EventsOptions) []string {
	r.t.Helper()
	var got []string
	must(r.t, r.e.Events(r.t.Context(), opts, func(ev Event) error {
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
	if got := r.collect(EventsOptions{Since: begin, Until: time.Now()}); !slices.Equal(got, all) {
		t.Errorf("all: %v", got)
	}
	if got := r.collect(EventsOptions{Since: begin, Until: middle}); !slices.Equal(got, all[:3]) {
		t.Errorf("until the middle: %v", got)
	}
	if got := r.collect(EventsOptions{Since: middle, Until: time.Now().Add(50 * time.Millisecond)}); !slices.Equal(got, all[3:]) {
		t.Errorf("since the middle: %v", got)
	}
	if got := r.collect(EventsOptions{Until: begin}); !slices.Equal(got, []string{"import"}) {
		t.Errorf("all of the past: %v", got)
	}
	if got := r.collect(EventsOptions{Since: begin, Until: begin}); len(got) != 0 {
		t.Errorf("nothing: %v", got)
	}
	broken := errors.New("broken pipe")
	if err := r.e.Events(t.Context(), EventsOptions{Since: begin}, func(Event) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a client that fails: %v", err)
	}
	if err := r.e.Events(t.Context(), EventsOptions{Filters: Filters{"nope": {"x"}}}, nil); !errdefs.IsInvalidArgument(err) {
		t.Errorf("unknown filter: %v", err)
	}
}

// Nobody is told of an exit before its last output is in the log, whether the
// subscriber follows or asks for the past.
func TestDieComesAfterTheOutput(t *testing.T) {
	r := newRig(t)
	id := r.create("", "echo all of it")
	o := r.object(id)
	for _, until := range []time.Time{{}, time.Now().Add(20 * time.Second)} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		from := r.e.store.Newest()
		go func() {
			done <- r.e.deliver(ctx, r.e.store.Cursor(from), EventsOptions{Until: until}, func(ev Event) error {
				if ev.Action == "die" && o.view().told != o.view().rec.Exits {
					t.Error("the exit was told before it was drained")
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

func TestGateHoldsThePast(t *testing.T) {
	r := newRig(t)
	id := r.create("", "exit 0")
	begin := time.Now()
	_, seq, err := r.e.commit(t.Context(), r.object(id), change{action: "die", hold: true, mutate: func(*record.Record) error { return nil }})
	must(t, err)
	got := make(chan []string, 1)
	go func() { got <- r.collect(EventsOptions{Since: begin, Until: time.Now()}) }()
	select {
	case list := <-got:
		t.Errorf("told while held back: %v", list)
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
	o := r.object(r.create("", "exit 0"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []change{
		{action: "die", hold: true, mutate: func(*record.Record) error { return errUnchanged }},
		{action: "die", hold: true, mutate: func(*record.Record) error { return nil }, also: func(*store.Tx, *record.Record) error { return errUnchanged }},
	} {
		if _, _, err := r.e.commit(t.Context(), o, c); !errors.Is(err, errUnchanged) {
			t.Errorf("%v", err)
		}
	}
	if _, _, err := r.e.commit(ctx, o, change{action: "die", hold: true, mutate: func(*record.Record) error { return nil }}); err == nil {
		t.Error("committed for a client that is gone")
	}
	if r.e.store.Held() != 0 {
		t.Errorf("%d events are held", r.e.store.Held())
	}
}

func TestEventFilters(t *testing.T) {
	m := events.Message{
		Type: "container", Action: "exec_create: ls -l", Scope: "local",
		Actor: events.Actor{ID: "abcdef", Attributes: map[string]string{"name": "web", "image": "reg:5000/a/box:1", "color": "red", "empty": ""}},
	}
	for f, want := range map[string]bool{
		"": true, "event=exec_create": true, "event=exec_create: ls -l": true, "event=exec": false,
		"type=container": true, "type=image": false, "scope=local": true, "scope=swarm": false,
		"container=abc": true, "container=web": true, "container=/web": true, "container=we": false,
		"image=box": false, "image=box:1": false, "image=bo": false, "image=reg:5000/a/box": true, "image=reg:5000/a/box:1": true,
		"event=health_status": false, "daemon=host": false, "plugin=web": false, "label=color": true, "label=color=red": true, "label=color=blue": false, "label=empty=": true, "label=none": false,
		"network=x": false, "volume=x": false,
	} {
		filters := Filters{}
		for name, value, ok := cut(f); ok; ok = false {
			filters[name] = []string{value}
		}
		if got := eventMatches(m, filters); got != want {
			t.Errorf("%q: %v", f, got)
		}
	}
	if !eventMatches(m, Filters{"event": {"start", "exec_create"}}) || eventMatches(m, Filters{"label": {"color", "none"}}) {
		t.Error("one value of a filter is enough, but for labels")
	}
}

func cut(f string) (name, value string, ok bool) {
	for i := range f {
		if f[i] == '=' {
			return f[:i], f[i+1:], true
		}
	}
	return "", "", false
}

// The journal's numbers have no gap over what a client is told without filters.
func TestEventNumbers(t *testing.T) {
	r := newRig(t)
	for i := range 3 {
		r.ended(r.run(fmt.Sprint("c", i), "exit 0"))
	}
	var last uint64
	must(t, r.e.Events(t.Context(), EventsOptions{Since: time.Unix(1, 0), Until: time.Now()}, func(ev Event) error {
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

// A number picks up where it was, tells what was skipped, and is refused where
// the journal can't go on from it.
func TestEventsAfterNumber(t *testing.T) {
	r := newRig(t)
	id := r.run("one", "exit 0")
	r.ended(id)
	var numbers, skipped []uint64
	var at EventsPosition
	first := uint64(0)
	must(t, r.e.Events(t.Context(), EventsOptions{
		After: &first, Until: time.Now(), Filters: Filters{"event": {"start", "die"}},
		Begin: func(p EventsPosition) { at = p }, Omit: func(seq uint64) { skipped = append(skipped, seq) },
	}, func(ev Event) error {
		numbers = append(numbers, ev.Seq)
		if ev.Generation != 1 {
			t.Errorf("%+v", ev)
		}
		return nil
	}))
	if at.Journal != r.e.store.ID() || at.Newest != r.e.store.Newest() || len(numbers) != 2 || len(numbers)+len(skipped) != int(at.Newest) {
		t.Errorf("at %+v: %v, skipped %v", at, numbers, skipped)
	}
	for what, o := range map[string]EventsOptions{
		"ahead":         {After: new(at.Newest + 1)},
		"other journal": {After: new(at.Newest), Journal: "other"},
	} {
		var gone *HistoryGoneError
		err := r.e.Events(t.Context(), o, func(Event) error { return errors.New("an event") })
		if !errors.As(err, &gone) || gone.EventsPosition != at || gone.Oldest != 1 {
			t.Errorf("%s: %v, %+v", what, err, gone)
		}
	}
	o := EventsOptions{After: &at.Newest, Journal: at.Journal, Until: time.Now()}
	if err := r.e.Events(t.Context(), o, nil); err != nil {
		t.Errorf("the newest: %v", err)
	}
}
