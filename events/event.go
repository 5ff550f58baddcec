package events

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
)

// Event tells of one change, in the words of Docker's GET /events.
type Event struct {
	// Seq is the event's number in its journal: from 1, without a gap.
	Seq uint64
	// Type is the kind of object, such as "container" or "image".
	Type string
	// Action is what happened to it, such as "start" or "die".
	Action string
	// ID names the object.
	ID string
	// Attributes describe the object and the change: for "die" of a container
	// exitCode, for each event of a container its name, image and labels.
	Attributes map[string]string
	// Time is the daemon's wall clock when it happened. It need not grow with Seq.
	Time time.Time
	// Generation counts the starts of a container; 0 where that means nothing.
	Generation uint64
	// Recovered tells that the daemon found out afterwards.
	Recovered bool
}

// message is an event as the daemon writes it.
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

// decode reads an event. The error is DataLoss.
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
