// Package containers is the containers of an engine in memory: the registry that finds them, and for each one its
// newest record, the lock that serialises operations, and who waits for a change.
package containers

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/await"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Container is a container in memory: the newest published record, and what lives only while the engine does.
type Container struct {
	ID    string
	store *store.Store

	// op serialises what users ask of the container. The backend's callbacks never take it.
	op chan struct{}

	// mu guards what follows, and what other packages keep about the container: see LockState and Change.
	mu  sync.Mutex
	Rec *record.Record
	// changed is closed and replaced whenever something below changes.
	changed chan struct{}
	// Announced counts the exits whose output is in the log. Waiters and subscribers may learn of these.
	Announced uint64
	// ExitCode is the exit code, in Docker's numbers, of the last exit that was announced.
	ExitCode int
	// Gone tells that the container was removed.
	Gone bool
	// FailedRemovals counts the removals that failed since the engine began. RemovalError is why the last of them did.
	FailedRemovals int
	RemovalError   error
	// Task is the container at the client layer; nil before the first start and after the clean-up that follows an
	// exit.
	Task *libcontainerd.Container
}

// New returns the container of a record.
func New(s *store.Store, r *record.Record) *Container {
	return &Container{
		ID: r.ID, store: s, Rec: r, Announced: r.Exits, ExitCode: r.ShownExitCode(),
		op:      make(chan struct{}, 1),
		changed: make(chan struct{}),
	}
}

// LockState takes the lock of the container's state. No I/O, no callback and no other container's lock below it.
func (o *Container) LockState() { o.mu.Lock() }

// UnlockState releases the lock of the container's state.
func (o *Container) UnlockState() { o.mu.Unlock() }

// Lock takes the container for one operation. It fails when ctx ends first.
func (o *Container) Lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case o.op <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Unlock ends the operation that Lock began.
func (o *Container) Unlock() { <-o.op }

// AwaitStart waits for a start that may be under way. Errors: the end of ctx.
func (o *Container) AwaitStart(ctx context.Context) error {
	if o.Record().Running() {
		return nil
	}
	if err := o.Lock(ctx); err != nil {
		return err
	}
	o.Unlock()
	return nil
}

// Record returns the newest record. It is not to be written to.
func (o *Container) Record() *record.Record {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.Rec
}

// exists tells whether the container's creation is complete.
func (o *Container) exists() bool { return o.Record().Version > 0 }

// View is one consistent look at a container.
type View struct {
	Record    *record.Record
	Announced uint64
	Code      int
	Gone      bool
	Changed   <-chan struct{}

	FailedRemovals int
	RemovalError   error
}

// View returns a look at the container.
func (o *Container) View() View {
	o.mu.Lock()
	defer o.mu.Unlock()
	return View{
		Record: o.Rec, Announced: o.Announced, Code: o.ExitCode, Gone: o.Gone, Changed: o.changed,
		FailedRemovals: o.FailedRemovals, RemovalError: o.RemovalError,
	}
}

// publish makes r the newest record, unless a newer one is known.
func (o *Container) publish(r *record.Record) {
	o.Change(func() {
		if r.Version > o.Rec.Version {
			o.Rec = r
		}
	})
}

// Change runs fn under the lock of the state and wakes whoever awaits a change.
func (o *Container) Change(fn func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fn()
	close(o.changed)
	o.changed = make(chan struct{})
}

// Live returns the container at the runtime daemon; FailedPrecondition where
// it doesn't run.
func (o *Container) Live() (*libcontainerd.Container, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.Task == nil || !o.Rec.Running() {
		return nil, classed.Errorf(errdefs.ErrFailedPrecondition, "container %s is not running", o.ID)
	}
	return o.Task, nil
}

// AnnounceLocked lets waiters learn of the exit in r. The caller has the lock of the state, as in Change.
func (o *Container) AnnounceLocked(r *record.Record) {
	o.Announced, o.ExitCode = r.Exits, r.ShownExitCode()
}

// Await returns when cond holds for the container, and NotFound where it was
// removed first.
func (o *Container) Await(ctx context.Context, cond func(v View) bool) error {
	for {
		v := o.View()
		switch {
		case cond(v):
			return nil
		case v.Gone:
			return classed.Errorf(errdefs.ErrNotFound, "No such container: %s", o.ID)
		}
		if await.Closed(ctx, v.Changed) != nil {
			return ctx.Err()
		}
	}
}

var ErrTooLong = errors.New("the container did not end in time")

// AwaitExit waits until the exit of a generation is announced.
func (o *Container) AwaitExit(ctx context.Context, generation uint64, timeout time.Duration) error {
	if timeout >= 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, ErrTooLong)
		defer cancel()
	}
	err := o.Await(ctx, func(v View) bool { return v.Gone || v.Announced >= generation })
	if err != nil && errors.Is(context.Cause(ctx), ErrTooLong) {
		return ErrTooLong
	}
	return err
}
