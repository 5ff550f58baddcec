package record

import "github.com/moby/moby/api/types/container"

// execRecord is what the journal has of an exec while it runs, so that the next
// engine takes it up.
type Exec struct {
	ID        string
	Container string
	Pid       int
	Request   container.ExecCreateRequest
}
