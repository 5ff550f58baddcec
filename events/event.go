package events

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
)

// Event is one change. Its types, actions and attributes are those of Docker's GET
// /events.
type Event struct {
	// Seq is the event's number in its journal: from 1, without a gap.
	Seq uint64
	// Type is the type of the thing that changed, such as "container" or "image".
	Type string
	// Action is what happened to that thing, such as "start" or "die".
	Action string
	// ID is the id of that thing.
	ID string
	// Attributes describe the thing and the change. Each event of a container has
	// the container's name, image and labels; "die" also has exitCode.
	Attributes map[string]string
	// Time is the daemon's wall clock at the change. A later Seq may have an
	// earlier Time.
	Time time.Time
	// Generation counts the starts of a container, from 1; 0 if the event is about
	// no start.
	Generation uint64
	// Recovered says that the daemon missed the change when it happened, and found
	// it later.
	Recovered bool
}

// message is an event in the daemon's JSON.
type message struct {
	Type   string
	Action string
	Actor  struct {
		ID         string
		Attributes map[string]string
	}
	TimeNano   int64  `json:"timeNano"`
	Seq        uint64 `json:"seq"`
	Generation uint64 `json:"generation"`
	Recovered  bool   `json:"recovered"`
}

// decode reads an event. The error is DataLoss if the data is no event.
func decode(data []byte) (Event, error) {
	var m message
	if err := json.Unmarshal(data, &m); err != nil {
		return Event{}, fmt.Errorf("cannot read an event: %v: %w", err, errdefs.ErrDataLoss)
	}
	if m.Seq == 0 {
		return Event{}, fmt.Errorf("an event has no number: %w", errdefs.ErrDataLoss)
	}
	return Event{
		Seq: m.Seq, Type: m.Type, Action: m.Action, ID: m.Actor.ID, Attributes: m.Actor.Attributes,
		Time: time.Unix(0, m.TimeNano), Generation: m.Generation, Recovered: m.Recovered,
	}, nil
}
