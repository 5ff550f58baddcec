package engine

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/journal"
	"github.com/engine-lite/engine-lite/libcontainerd"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// object is a container in memory: the newest published record and what lives
// only while the engine does.
type object struct {
	id string

	// op serialises what users ask of the container. The backend's callbacks
	// never take it.
	op chan struct{}

	// making is held while a life is opened, so that there is one and mu need
	// not be held over it. It is taken before mu.
	making sync.Mutex

	mu      sync.Mutex
	rec     *record.Record
	changed chan struct{} // closed and replaced whenever rec or told changes
	// told counts the exits whose output is in the log: those that waiters
	// and subscribers may learn of.
	told uint64
	// code is the exit code, in Docker's numbers, of the last exit told.
	code int
	gone bool // removed
	// failedRemovals counts the removals that failed since the engine began,
	// removalError is why the last of them did.
	failedRemovals int
	removalError   error

	life *life
	// ending is the life of the run that ended last, whose output may wait for
	// the disk.
	ending *life
	// ctr is the live container; nil before the first start and after the exit
	// was cleaned up.
	ctr   *libcontainerd.Container
	execs map[string]*execution
	// probe is the one under way; nil where there is none.
	probe *probe
	// watched is the generation that was last given a monitor of its health.
	watched uint64
	// swept is closed when what an earlier engine left of the container was dealt
	// with; nil where that was before this one served. Its log may lack the end
	// until then.
	swept chan struct{}
	// untold is the exit whose output is being drained.
	untold *exit
	// generation is that of the run under way or being started.
	generation uint64
	// cleanup is closed when the run under way, or the last one, has ended and
	// was cleaned up after; nil where there was none.
	cleanup chan struct{}
}

func newObject(r *record.Record) *object {
	return &object{
		id: r.ID, rec: r, told: r.Exits, code: r.ShownExitCode(),
		op:      make(chan struct{}, 1),
		changed: make(chan struct{}),
		execs:   map[string]*execution{},
	}
}

// lock takes the container for one operation. It fails when ctx ends first.
func (o *object) lock(ctx context.Context) error {
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

func (o *object) unlock() { <-o.op }

// awaitSwept waits until what an earlier engine left was dealt with: who asks for
// the log or the exit of the last run must not be faster, and who waits for the
// next one must not be given the last.
func (o *object) awaitSwept(ctx context.Context) error {
	if o.swept == nil {
		return nil
	}
	select {
	case <-o.swept:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// record returns the newest record. It is not to be written to.
func (o *object) record() *record.Record {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.rec
}

// exists tells whether the container's creation is complete.
func (o *object) exists() bool { return o.record().Version > 0 }

// view is one consistent look at a container.
type view struct {
	rec     *record.Record
	told    uint64
	code    int
	gone    bool
	changed <-chan struct{}

	failedRemovals int
	removalError   error
}

func (o *object) view() view {
	o.mu.Lock()
	defer o.mu.Unlock()
	return view{
		rec: o.rec, told: o.told, code: o.code, gone: o.gone, changed: o.changed,
		failedRemovals: o.failedRemovals, removalError: o.removalError,
	}
}

// publish makes r the newest record, unless a newer one is known.
func (o *object) publish(r *record.Record) {
	o.change(func() {
		if r.Version > o.rec.Version {
			o.rec = r
		}
	})
}

// change runs fn under the lock and wakes whoever watches.
func (o *object) change(fn func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fn()
	close(o.changed)
	o.changed = make(chan struct{})
}

// live returns the container at the runtime daemon; FailedPrecondition where
// it doesn't run.
func (o *object) live() (*libcontainerd.Container, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ctr == nil || !o.rec.Running() {
		return nil, classed.Errorf(errdefs.ErrFailedPrecondition, "container %s is not running", o.id)
	}
	return o.ctr, nil
}

// tellLocked lets waiters learn of the exit in r. The caller has mu, as in change.
func (o *object) tellLocked(r *record.Record) { o.told, o.code = r.Exits, r.ShownExitCode() }

// lives are the stdio of the container's processes.
func (o *object) lives() []*life {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []*life
	if o.life != nil {
		list = append(list, o.life)
	}
	for _, x := range o.execs {
		list = append(list, x.life)
	}
	return list
}

// change is one step of a container's record, committed with its events.
type change struct {
	// mutate changes the record; an error leaves everything as it was.
	mutate func(r *record.Record) error
	// action is the event's name; empty for a change that nobody is told of.
	action string
	// attributes are added to those that every event of the container has.
	attributes func(r *record.Record) map[string]string
	recovered  bool
	// hold keeps the event, which is a die, from subscribers until release is
	// called with its number.
	hold bool
	also func(tx *store.Tx, r *record.Record) error
}

// commit applies a change to the container's record and appends its event in
// one transaction, and publishes the new record. It returns it and the event's
// number.
func (e *Engine) commit(ctx context.Context, o *object, c change) (*record.Record, uint64, error) {
	var next *record.Record
	var seq uint64
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		r, err := record.Load(tx, o.id)
		if err != nil {
			return err
		}
		if err := c.mutate(r); err != nil {
			return err
		}
		r.Version++
		if c.action != "" {
			seq = tx.Append(containerEvent(r, c))
			if c.hold {
				tx.Hold(seq)
				r.DieSeq = seq
			}
		}
		if err := r.Put(tx); err != nil {
			return err
		}
		if c.also != nil {
			if err := c.also(tx, r); err != nil {
				return err
			}
		}
		next = r
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	o.publish(next)
	return next, seq, nil
}

// maxLabels bounds the bytes that a container's labels have, so that each event
// that tells of it fits into the journal: an exit must never be refused there.
const maxLabels = 512 << 10

func checkLabels(r *record.Record) error {
	size := len(r.ImageName)
	for key, value := range r.Config.Labels {
		size += len(key) + len(value)
	}
	if size > maxLabels {
		return classed.Errorf(errdefs.ErrInvalidArgument, "the container's labels have %d bytes, more than %d", size, maxLabels)
	}
	return nil
}

// containerEvent is the event of a change, with the attributes that Docker's
// events of a container have: its labels, image and name.
func containerEvent(r *record.Record, c change) journal.Event {
	a := map[string]string{}
	if r.Config != nil {
		maps.Copy(a, r.Config.Labels)
	}
	a["image"], a["name"] = r.ImageName, r.Name
	if c.attributes != nil {
		maps.Copy(a, c.attributes(r))
	}
	return journal.Event{
		Time: time.Now().UTC(), Type: "container", Action: c.action, ID: r.ID,
		Generation: r.Generation, Attributes: a, Recovered: c.recovered,
	}
}
