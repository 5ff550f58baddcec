// Package eventstream is the events of an engine as clients see them: in Docker's words, filtered, with their numbers
// in the journal, and resumable at each number.
package eventstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
)

// Stream is the events of an engine.
type Stream struct {
	store *store.Store
}

// New returns the events in a store.
func New(s *store.Store) *Stream { return &Stream{store: s} }

// Events hands over what the journal has since opts.Since or after opts.After, or
// all where only opts.Until is given, and then what comes, until opts.Until or the end of ctx. The error is a
// *HistoryGoneError where the journal hasn't all that was asked for by number.
func (s *Stream) Events(ctx context.Context, opts Options, fn func(Event) error) error {
	if err := filters.Check(opts.Filters, eventFilters); err != nil {
		return err
	}
	cursor, err := s.eventsCursor(opts)
	if err != nil {
		return err
	}
	if opts.Begin != nil {
		opts.Begin(s.eventsPosition())
	}
	return s.historyError(s.deliver(ctx, cursor, opts, fn))
}

func (s *Stream) eventsPosition() Position {
	return Position{Journal: s.store.ID(), Newest: s.store.Newest()}
}

func (s *Stream) eventsCursor(opts Options) (*journal.Cursor, error) {
	switch {
	case opts.After != nil && opts.Journal != "" && opts.Journal != s.store.ID():
		return nil, s.historyGone(fmt.Sprintf("the events of journal %s are gone: this is journal %s", opts.Journal, s.store.ID()))
	case opts.After != nil:
		cursor := s.store.Cursor(*opts.After)
		return cursor, s.historyError(cursor.Check())
	case !opts.Since.IsZero():
		return s.store.CursorSince(opts.Since)
	case !opts.Until.IsZero(): // as in Docker, with what is past
		return s.store.CursorSince(time.Unix(0, 0))
	}
	return s.store.Cursor(s.store.Newest()), nil
}

// historyError turns the journal's errors of a position into one for clients.
func (s *Stream) historyError(err error) error {
	var old *journal.TooOldError
	var ahead *journal.TooNewError
	if errors.As(err, &old) || errors.As(err, &ahead) {
		return s.historyGone(err.Error())
	}
	return err
}

func (s *Stream) historyGone(text string) error {
	return &HistoryGoneError{Position: s.eventsPosition(), Oldest: s.store.Oldest(), text: text}
}

// errNoMore says that no event is left before the end that the client gave.
var errNoMore = errors.New("no more events")

func (s *Stream) deliver(ctx context.Context, cursor *journal.Cursor, opts Options, fn func(Event) error) error {
	for {
		ev, err := s.next(ctx, cursor, opts.Until)
		switch {
		case errors.Is(err, errNoMore):
			return nil
		case err != nil:
			return err
		case !opts.Until.IsZero() && ev.Time.After(opts.Until):
			return nil
		}
		m := message(ev)
		if ev.Time.Before(opts.Since) || !matches(m, opts.Filters) { // the clock may have been set back
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

// next returns the cursor's next event as soon as it may be delivered. It doesn't
// wait for one beyond the time until, where there is one.
func (s *Stream) next(ctx context.Context, cursor *journal.Cursor, until time.Time) (journal.Event, error) {
	ev, err := await(ctx, cursor, until)
	if err != nil {
		return ev, err
	}
	return ev, s.store.AwaitDelivery(ctx, ev.Seq)
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

// matches is Docker's filter, but that a container's name is the whole of it:
// there "web" lets "web2" through as well.
func matches(m events.Message, f filters.Filters) bool {
	action, _, _ := strings.Cut(string(m.Action), ":")
	name := m.Actor.Attributes["name"]
	return f.Match("event", func(v string) bool { return v == action || v == string(m.Action) }) &&
		f.Match("type", func(v string) bool { return v == string(m.Type) }) &&
		f.Match("scope", func(v string) bool { return v == m.Scope }) &&
		f.Match("container", func(v string) bool {
			return m.Type == "container" && (strings.HasPrefix(m.Actor.ID, v) || name == strings.TrimPrefix(v, "/"))
		}) &&
		f.Match("image", func(v string) bool {
			if m.Type == "image" {
				return m.Actor.ID == v || isImage(name, v) || isImage(m.Actor.ID, v)
			}
			return isImage(m.Actor.Attributes["image"], v)
		}) &&
		f.All("label", func(v string) bool { return filters.HasLabel(m.Actor.Attributes, v) }) &&
		f.Match("volume", func(v string) bool { return m.Type == "volume" && strings.HasPrefix(m.Actor.ID, v) }) &&
		f.None("network", "plugin", "daemon", "config", "node", "secret", "service")
}

// isImage tells whether an image is meant by its name, with its tag or without.
func isImage(ref, want string) bool {
	if ref == want {
		return true
	}
	_, name := images.Familiar(ref)
	return name == want
}
