package eventstream

import (
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
)

// Options says which events a client wants.
type Options struct {
	// Since and Until are times. With neither it begins with what comes, with Until
	// alone at the beginning.
	Since, Until time.Time
	// After begins with the event after that number, in place of Since; nil
	// where no number was given.
	After *uint64
	// Journal is the journal that After belongs to; empty where the client
	// doesn't say.
	Journal string
	Filters filters.Filters
	// Begin is called once, before the first event, when it is known that the
	// events that were asked for can be had. nil is allowed, as it is for Omit.
	Begin func(Position)
	// Omit is called with the number of each event that the filters keep back.
	Omit func(seq uint64)
}

// Position is where a journal stands.
type Position struct {
	// Journal is its random name: a number means something only together with it.
	Journal string
	// Newest is the number of its newest event.
	Newest uint64
}

// HistoryGoneError says that the events after a number can't be had: they are
// not kept any more, or the number belongs to another journal.
type HistoryGoneError struct {
	Position
	// Oldest is the number of the oldest event that is kept.
	Oldest uint64
	text   string
}

func (e *HistoryGoneError) Error() string { return e.text }

// Unwrap gives the error its class.
func (e *HistoryGoneError) Unwrap() error { return errdefs.ErrOutOfRange }

// Event is an event of Docker's vocabulary with its place in the journal.
type Event struct {
	events.Message
	// Seq is the event's number: gapless, from 1.
	Seq uint64
	// Generation counts the container's starts; 0 where that means nothing.
	Generation uint64
	// Recovered tells that the change was found afterwards and not seen.
	Recovered bool
}
