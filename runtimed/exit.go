package runtimed

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/engine-lite/engine-lite/keeper"
)

// unknownStatus is the exit status on the wire of a process whose end nobody saw. No process can exit with it.
const unknownStatus = 0xFFFFFFFF

// exitRecord is the file "exit" of a process.
type exitRecord struct {
	// Code is 0 to 255; 128 plus the signal's number after a signal. It means nothing where Unknown is set.
	Code uint32 `json:"code"`
	// Unknown is the reason why nobody can know the status.
	Unknown string    `json:"unknown,omitempty"`
	Time    time.Time `json:"time"`
	// OOM tells that the kernel killed a process of the container for want of memory.
	OOM bool `json:"oom,omitempty"`
}

// status is the exit status on the wire.
func (e exitRecord) status() uint32 {
	if e.Unknown != "" {
		return unknownStatus
	}
	return e.Code
}

func recordOf(e keeper.Exit) exitRecord {
	return exitRecord{Code: uint32(e.Code()), Time: e.Time}
}

func unknownExit(reason string) exitRecord {
	return exitRecord{Unknown: reason, Time: time.Now()}
}

// loadExit reads the exit file of a process.
func loadExit(path string) (exitRecord, error) {
	var e exitRecord
	err := readJSON(path, &e)
	if err == nil && e.Code > 255 {
		e.Unknown = "the exit record was damaged"
	}
	return e, err
}

// Trailers of the answers that tell of an exit (Wait, Get, Delete, DeleteProcess): containerd's messages have no field for either.
const (
	trailerUnknown = "engine-lite-exit-unknown" // the reason why a status is unknown; absent where it is known
	trailerOOM     = "engine-lite-oom-killed"   // "true" or "false"
)

// trailerWarning is in the answers to Create and Exec, once for each thing that the host withholds and that the process therefore gets less of.
const trailerWarning = "engine-lite-warning"

func warn(ctx context.Context, warnings []string) error {
	if len(warnings) == 0 {
		return nil
	}
	return grpc.SetTrailer(ctx, metadata.MD{trailerWarning: warnings})
}

// tell adds the trailers to the answer of a request.
func (e exitRecord) tell(ctx context.Context) error {
	md := metadata.Pairs(trailerOOM, strconv.FormatBool(e.OOM))
	if e.Unknown != "" {
		md.Set(trailerUnknown, e.Unknown)
	}
	return grpc.SetTrailer(ctx, md)
}
