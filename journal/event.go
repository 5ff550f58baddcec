package journal

import "time"

// Event is one change of state, in the terms of the Docker Engine API's GET /events.
type Event struct {
	// Seq is the number of the event. Numbers begin with 1 and have no gap. Append sets Seq, and ignores the caller's.
	Seq uint64
	// Time is the wall clock at the change, in UTC with nanoseconds, between the years 1678 and 2262. Append sets a
	// zero Time to now. A later event may have an earlier Time: clocks are set back, and an exit may become known late.
	Time time.Time
	// Type is the kind of thing that changed, such as "container" or "image".
	Type string
	// Action is the kind of change, such as "start" or "die".
	Action string
	// ID is the id of the thing that changed (the API's Actor.ID).
	ID string
	// Generation counts the starts of the container, failed ones too, from 1; 0 for other things.
	Generation uint64
	// Attributes describe the thing and the change (the API's Actor.Attributes). An empty map is read back as nil.
	Attributes map[string]string
	// Recovered is true if the change was found out later, since nobody saw it happen.
	Recovered bool
}
