package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/journal"
)

// Events hands over what the journal has since opts.Since or after opts.After, or
// all where only opts.Until is given, and then what comes, until opts.Until or the end of ctx. The error is a
// *HistoryGoneError where the journal hasn't all that was asked for by number.
func (e *Engine) Events(ctx context.Context, opts EventsOptions, fn func(Event) error) error {
	if err := checkFilters(opts.Filters, eventFilters); err != nil {
		return err
	}
	cursor, err := e.eventsCursor(opts)
	if err != nil {
		return err
	}
	if opts.Begin != nil {
		opts.Begin(e.eventsPosition())
	}
	return e.historyError(e.deliver(ctx, cursor, opts, fn))
}

func (e *Engine) eventsPosition() EventsPosition {
	return EventsPosition{Journal: e.store.ID(), Newest: e.store.Newest()}
}

func (e *Engine) eventsCursor(opts EventsOptions) (*journal.Cursor, error) {
	switch {
	case opts.After != nil && opts.Journal != "" && opts.Journal != e.store.ID():
		return nil, e.historyGone(fmt.Sprintf("the events of journal %s are gone: this is journal %s", opts.Journal, e.store.ID()))
	case opts.After != nil:
		cursor := e.store.Cursor(*opts.After)
		return cursor, e.historyError(cursor.Check())
	case !opts.Since.IsZero():
		return e.store.CursorSince(opts.Since)
	case !opts.Until.IsZero(): // as in Docker, with what is past
		return e.store.CursorSince(time.Unix(0, 0))
	}
	return e.store.Cursor(e.store.Newest()), nil
}

// historyError turns the journal's errors of a position into one for clients.
func (e *Engine) historyError(err error) error {
	var old *journal.TooOldError
	var ahead *journal.TooNewError
	if errors.As(err, &old) || errors.As(err, &ahead) {
		return e.historyGone(err.Error())
	}
	return err
}

func (e *Engine) historyGone(text string) error {
	return &HistoryGoneError{EventsPosition: e.eventsPosition(), Oldest: e.store.Oldest(), text: text}
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
		}
		m := message(ev)
		if ev.Time.Before(opts.Since) || !eventMatches(m, opts.Filters) { // the clock may have been set back
			if opts.Omit != nil {
				opts.Omit(ev.Seq)
			}
			continue
		}
		if err := fn(Event{Message: m, Seq: ev.Seq, Generation: ev.Generation, Recovered: ev.Recovered}); err != nil {
			return err
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
	return ev, e.store.AwaitDelivery(ctx, ev.Seq)
}

func await(ctx context.Context, cursor *journal.Cursor, until time.Time) (journal.Event, error) {
	if until.IsZero() {
		return cursor.Next(ctx)
	}
	if err := ctx.Err(); err != nil {
		return journal.Event{}, err
	}
	if ev, ok, err := cursor.Poll(); ok || err != nil { // history needs no timer
		return ev, err
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

// eventMatches is Docker's filter, but that a container's name is the whole of it:
// there "web" lets "web2" through as well.
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
				return m.Actor.ID == v || isImage(name, v) || isImage(m.Actor.ID, v)
			}
			return isImage(m.Actor.Attributes["image"], v)
		}) &&
		f.all("label", func(v string) bool { return hasLabel(m.Actor.Attributes, v) }) &&
		f.none("network", "volume", "plugin", "daemon", "config", "node", "secret", "service")
}

// isImage tells whether an image is meant by its name, with its tag or without.
func isImage(ref, want string) bool {
	if ref == want {
		return true
	}
	_, name := images.Familiar(ref)
	return name == want
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
			return classed.Errorf(errdefs.ErrInvalidArgument, "invalid filter '%s'", name)
		}
	}
	return nil
}
