package journal

import "time"

// Event tells of one change of state, in the vocabulary of the Docker Engine API's GET /events.
type Event struct {
	// Seq numbers the events of a journal from 1 without a gap. Append assigns it; what the caller sets is ignored.
	Seq uint64
	// Time is the wall clock when it happened, in UTC with nanoseconds, between the years 1678 and 2262. Append sets a
	// zero Time to now. It need not grow with Seq: clocks are set back, and an exit may be learnt of late.
	Time time.Time
	// Type is the kind of object, such as "container" or "image".
	Type string
	// Action is what happened to it, such as "start" or "die".
	Action string
	// ID names the object (the API's Actor.ID).
	ID string
	// Generation counts the processes that the object has had; 0 where that means nothing.
	Generation uint64
	// Attributes describe the object and the change (the API's Actor.Attributes). An empty map is read back as nil.
	Attributes map[string]string
	// Recovered says that the change was found out afterwards rather than seen.
	Recovered bool
}
