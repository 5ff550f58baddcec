package core

import (
	"time"

	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// UnknownStatus is the exit status on the wire of a process whose end nobody saw. No process can exit with it.
const UnknownStatus = 0xFFFFFFFF

// ExitRecord is the file "exit" of a process.
type ExitRecord struct {
	// Code is 0 to 255; 128 plus the signal's number after a signal. It means nothing where Unknown is set.
	Code uint32 `json:"code"`
	// Unknown is the reason why nobody can know the status.
	Unknown string    `json:"unknown,omitempty"`
	Time    time.Time `json:"time"`
	// OOM tells that the kernel killed a process of the container for want of memory.
	OOM bool `json:"oom,omitempty"`
}

// Status is the exit status on the wire.
func (e ExitRecord) Status() uint32 {
	if e.Unknown != "" {
		return UnknownStatus
	}
	return e.Code
}

func recordOf(e keeper.Exit) ExitRecord {
	return ExitRecord{Code: uint32(e.Code()), Time: e.Time}
}

func unknownExit(reason string) ExitRecord {
	return ExitRecord{Unknown: reason, Time: time.Now()}
}

// loadExit reads the exit file of a process.
func loadExit(path string) (ExitRecord, error) {
	var e ExitRecord
	err := statefile.ReadJSON(path, &e)
	if err == nil && e.Code > 255 {
		e.Unknown = "the exit record was damaged"
	}
	return e, err
}
