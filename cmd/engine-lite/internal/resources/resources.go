// Package resources is the interface between the engine and what a container takes and gives back: volumes and other mounts,
// networks, devices. A provider has one kind of them. The engine calls all providers at the same points of a container's
// life, and knows nothing else of them:
//
//	create  Reserve  in the transaction of the record
//	start   Acquire  before the runtime daemon is asked; after a failure Free and Dispose
//	        Started  in the transaction of the event start
//	exit    Ended    in the transaction of the event die
//	        Free     before anyone learns of the exit: what others can take is free then
//	        Dispose  what nobody else can take, after that
//	remove  Forget   in the transaction that deletes the record
//	        Forgotten  after that
//
// An engine that begins calls Adopt for each run that goes on, and then Sweep once, before it serves.
package resources

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// Holder is who has taken resources: a run of a container, or a lease for a container that does not run. The container's
// id alone is no holder: what is freed late for one run must not be taken from the next one.
type Holder struct {
	// Container is the container's id.
	Container string
	// Generation is that of the run; 0 for a lease.
	Generation uint64
	// Lease is the name of a lease, without a dot; empty for a run.
	Lease string
}

// Run is the holder for a run of a container.
func Run(containerID string, generation uint64) Holder {
	return Holder{Container: containerID, Generation: generation}
}

// String returns the holder in the form that the names of kernel objects carry. ParseHolder reads it.
func (h Holder) String() string {
	if h.Lease != "" {
		return h.Container + ".lease." + h.Lease
	}
	return fmt.Sprintf("%s.%d", h.Container, h.Generation)
}

// ParseHolder reads what String returned; false for anything else.
func ParseHolder(s string) (Holder, bool) {
	id, rest, ok := strings.Cut(s, ".")
	if !ok || id == "" {
		return Holder{}, false
	}
	if lease, ok := strings.CutPrefix(rest, "lease."); ok {
		return Holder{Container: id, Lease: lease}, lease != "" && !strings.Contains(lease, ".")
	}
	n, err := strconv.ParseUint(rest, 10, 64)
	h := Run(id, n)
	return h, err == nil && n > 0 && h.String() == s
}

// Contribution is what a provider adds to a run.
type Contribution struct {
	// Sources are the paths of the host of mounts in the container's record, by their destinations.
	Sources map[string]string
	// Namespaces are joined in place of new ones.
	Namespaces []specs.LinuxNamespace
}

// Provider has one kind of resource. Its methods may be called from any goroutine; those of one container are called one
// after the other.
type Provider interface {
	// Kind is the provider's name in errors and logs, such as "volumes".
	Kind() string
	// Reserve is part of the transaction that creates the container. It may change the record. An error refuses the
	// container.
	Reserve(tx *store.Tx, r *record.Record) error
	// Forget is part of the transaction that deletes the container's record.
	Forget(tx *store.Tx, r *record.Record) error
	// Forgotten removes from the disk what Forget has removed from the journal. What it does not get to is for the next
	// engine's Sweep.
	Forgotten(ctx context.Context, r *record.Record) error
	// Acquire takes the container's resources for a holder. After an error, nothing of them is taken. What it makes in
	// the kernel carries the holder's name, so that Sweep finds it.
	Acquire(ctx context.Context, r *record.Record, h Holder) (Contribution, error)
	// Started and Ended append the provider's events, in the transactions of the events start and die.
	Started(tx *store.Tx, r *record.Record) error
	Ended(tx *store.Tx, r *record.Record) error
	// Free gives back what others can take. It takes nothing back from another holder. A holder that has nothing is no
	// error.
	Free(ctx context.Context, h Holder) error
	// Dispose removes what is left of the holder, such as files. It is called after Free, and perhaps again.
	Dispose(ctx context.Context, h Holder) error
	// Adopt takes up a run that an earlier engine began and that goes on.
	Adopt(ctx context.Context, r *record.Record, h Holder) error
	// Sweep frees and disposes of what holders have that are not alive.
	Sweep(ctx context.Context, alive func(Holder) bool) error
}
