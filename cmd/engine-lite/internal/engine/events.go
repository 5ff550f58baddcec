package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"

	"github.com/engine-lite/engine-lite/journal"
)

// Events hands over what the journal has since opts.Since, and then what comes,
// until opts.Until or the end of ctx. Without Since it begins with what comes.
func (e *Engine) Events(ctx context.Context, opts EventsOptions, fn func(Event) error) error {
	if err := checkFilters(opts.Filters, eventFilters); err != nil {
		return err
	}
	cursor := e.journal.Cursor(e.journal.Newest())
	if !opts.Since.IsZero() {
		var err error
		if cursor, err = e.journal.CursorSince(opts.Since); err != nil {
			return err
		}
	}
	return e.deliver(ctx, cursor, opts, fn)
}

// errNoMore says that no event is left before the end that the client gave.
var errNoMore = errors.New("no more events")

func (e *Engine) deliver(ctx context.Context, cursor *journal.Cursor, opts EventsOptions, fn func(Event) error) error {
	for {
		ev, err := e.next(ctx, cursor, opts.Until)
		switch {
		case errors.Is(err, errNoMore):
			return nil
		case err != nil:
			return err
		case !opts.Until.IsZero() && ev.Time.After(opts.Until):
			return nil
		case ev.Time.Before(opts.Since): // the clock was set back
			continue
		}
		if m := message(ev); eventMatches(m, opts.Filters) {
			if err := fn(Event{Message: m, Seq: ev.Seq}); err != nil {
				return err
			}
		}
	}
}

// next returns the cursor's next event as soon as it may be told. It doesn't
// wait for one beyond the time until, where there is one.
func (e *Engine) next(ctx context.Context, cursor *journal.Cursor, until time.Time) (journal.Event, error) {
	ev, err := await(ctx, cursor, until)
	if err != nil {
		return ev, err
	}
	return ev, e.gate.pass(ctx, ev.Seq)
}

func await(ctx context.Context, cursor *journal.Cursor, until time.Time) (journal.Event, error) {
	if until.IsZero() {
		return cursor.Next(ctx)
	}
	waiting, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	ev, err := cursor.Next(waiting)
	if err == nil || ctx.Err() != nil || waiting.Err() == nil {
		return ev, err
	}
	ev, ok, err := cursor.Poll() // what came in the last moment
	if err == nil && !ok {
		err = errNoMore
	}
	return ev, err
}

func message(ev journal.Event) events.Message {
	attributes := ev.Attributes
	if ev.Recovered {
		attributes = map[string]string{"recovered": "true"}
		maps.Copy(attributes, ev.Attributes)
	}
	return events.Message{
		Type: events.Type(ev.Type), Action: events.Action(ev.Action),
		Actor: events.Actor{ID: ev.ID, Attributes: attributes},
		Scope: "local", Time: ev.Time.Unix(), TimeNano: ev.Time.UnixNano(),
	}
}

var eventFilters = []string{"container", "event", "image", "label", "type", "scope", "network", "volume", "plugin", "daemon", "config", "node", "secret", "service"}

func eventMatches(m events.Message, f Filters) bool {
	action, _, _ := strings.Cut(string(m.Action), ":")
	name := m.Actor.Attributes["name"]
	return f.match("event", func(v string) bool { return v == action || v == string(m.Action) }) &&
		f.match("type", func(v string) bool { return v == string(m.Type) }) &&
		f.match("scope", func(v string) bool { return v == m.Scope }) &&
		f.match("container", func(v string) bool {
			return m.Type == "container" && (strings.HasPrefix(m.Actor.ID, v) || name == strings.TrimPrefix(v, "/"))
		}) &&
		f.match("image", func(v string) bool {
			if m.Type == "image" {
				return m.Actor.ID == v || name == v
			}
			return m.Actor.Attributes["image"] == v
		}) &&
		f.all("label", func(v string) bool { return hasLabel(m.Actor.Attributes, v) }) &&
		f.none("network", "volume", "plugin", "daemon", "config", "node", "secret", "service")
}

// hasLabel matches "key" or "key=value".
func hasLabel(labels map[string]string, want string) bool {
	key, value, withValue := strings.Cut(want, "=")
	got, ok := labels[key]
	return ok && (!withValue || got == value)
}

// match tells whether one of the values of a filter passes; a filter that
// isn't there lets all through.
func (f Filters) match(name string, fn func(string) bool) bool {
	values, ok := f[name]
	return !ok || len(values) == 0 || slices.ContainsFunc(values, fn)
}

// all tells whether each value of a filter passes.
func (f Filters) all(name string, fn func(string) bool) bool {
	return !slices.ContainsFunc(f[name], func(v string) bool { return !fn(v) })
}

// none tells that no filter is set for kinds of objects that don't exist here.
func (f Filters) none(names ...string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return len(f[n]) > 0 })
}

func checkFilters(f Filters, known []string) error {
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if !slices.Contains(known, name) {
			return refuse(errdefs.ErrInvalidArgument, "invalid filter '%s'", name)
		}
	}
	return nil
}
