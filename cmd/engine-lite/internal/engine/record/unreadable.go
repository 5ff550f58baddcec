package record

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/journal"
)

// Amendment is what happened to a container whose record this release cannot read. It stands beside the record, which
// stays as it is, and becomes part of the record when a release reads both: see [MergeAmendments].
type Amendment struct {
	// Schema is the version of the stored form.
	Schema  uint `json:",omitzero"`
	Version uint64

	// The other fields have the meaning that they have in a Record.
	Status      Status
	Pid         int
	Generation  uint64
	Exits       uint64
	DieSeq      uint64
	ExitCode    int
	ExitUnknown string
	OOMKilled   bool
	StartedAt   time.Time
	FinishedAt  time.Time
	StdinClosed bool
	StdinTaken  bool
	Stopped     bool
	Stop        *Stop `json:",omitempty"`

	Unknown Unknown `json:",embed"`
}

// Unreadable returns why this release cannot read the container's record; nil where it can. The Record holds what is
// known then. Such a container is shown and keeps its name. It can be stopped, waited for and removed, but not started:
// nobody knows how. Nothing happens to it by itself: no restart, no health probe, no removal after its exit.
func (r *Record) Unreadable() error { return r.unreadable }

// CheckReadable returns FailedPrecondition for a container whose record cannot be read.
func (r *Record) CheckReadable() error {
	if r.unreadable == nil {
		return nil
	}
	return classed.Errorf(errdefs.ErrFailedPrecondition, "container %s can only be stopped or removed: the %v", r.Name, r.unreadable)
}

// Load returns the record of a container, also one that cannot be read: see [Record.Unreadable]. NotFound where there
// is none.
func Load(r journal.Reader, id string) (*Record, error) {
	raw, ok := r.Get(Containers.Name, id)
	if !ok {
		return nil, NotFound(id)
	}
	c, err := Containers.Decode(id, raw)
	if err != nil {
		return known(r, id, raw, err)
	}
	return c, nil
}

// All calls fn for the record of each container, also for those that cannot be read, by id, until fn fails.
func All(r journal.Reader, fn func(*Record) error) error {
	return Containers.ForEachOr(r, func(_ string, c *Record) error { return fn(c) }, func(id string, raw []byte, why error) error {
		c, err := known(r, id, raw, why)
		if err != nil {
			return err
		}
		return fn(c)
	})
}

// known makes a Record of what can be read of one, and of what is written down beside it.
func known(r journal.Reader, id string, raw []byte, why error) (*Record, error) {
	c := new(Record)
	_ = store.Unmarshal(raw, c) // which sets what can be read; why says what cannot
	c.ID, c.unreadable = id, why
	c.Version = max(c.Version, 1)
	name, err := nameOf(r, id)
	if err != nil {
		return nil, err
	}
	c.Name = name
	if c.Config == nil {
		c.Config = new(Config)
	}
	if c.HostConfig == nil {
		c.HostConfig = new(HostConfig)
	}
	c.Config.Healthcheck, c.Health = nil, nil
	c.HostConfig.RestartPolicy, c.HostConfig.AutoRemove = RestartPolicy{}, false
	c.Stop, c.RestartAt = nil, time.Time{}
	unknownRun := c.Running() && (c.Pid <= 0 || c.Generation == 0)
	if !slices.Contains(statuses, c.Status) || c.Status == StatusRemoving || c.Status == StatusRestarting || unknownRun {
		c.Status = StatusDead
		c.ExitUnknown = cmp.Or(c.ExitUnknown, "the record of the container cannot be read")
	}
	a, ok, err := Amendments.Get(r, id)
	if ok && err == nil {
		c.amend(a)
	}
	return c, nil
}

// nameOf finds the name that belongs to a container; the beginning of its id where none does.
func nameOf(r journal.Reader, id string) (string, error) {
	var found string
	err := Names.ForEach(r, func(name, of string) error {
		if of != id {
			return nil
		}
		found = name
		return errEnough
	})
	if errors.Is(err, errEnough) {
		return found, nil
	}
	return id[:min(12, len(id))], err
}

// Put writes the record of a container. Of one that cannot be read it writes what has happened to the container, beside
// the record.
func (r *Record) Put(tx *store.Tx) error {
	if r.unreadable == nil {
		return Containers.Put(tx, r.ID, r)
	}
	return Amendments.Put(tx, r.ID, Amendment{
		Version: r.Version, Status: r.Status, Pid: r.Pid, Generation: r.Generation, Exits: r.Exits, DieSeq: r.DieSeq,
		ExitCode: r.ExitCode, ExitUnknown: r.ExitUnknown, OOMKilled: r.OOMKilled, StartedAt: r.StartedAt,
		FinishedAt: r.FinishedAt, StdinClosed: r.StdinClosed, StdinTaken: r.StdinTaken, Stopped: r.Stopped, Stop: r.Stop,
	})
}

func (r *Record) amend(a Amendment) {
	r.Version, r.Status, r.Pid, r.Exits, r.DieSeq = a.Version, a.Status, a.Pid, a.Exits, a.DieSeq
	r.Generation = max(r.Generation, a.Generation)
	r.ExitCode, r.ExitUnknown, r.OOMKilled = a.ExitCode, a.ExitUnknown, a.OOMKilled
	r.FinishedAt = a.FinishedAt
	if !a.StartedAt.IsZero() {
		r.StartedAt = a.StartedAt
	}
	r.StdinClosed, r.StdinTaken, r.Stopped, r.Stop = a.StdinClosed, a.StdinTaken, a.Stopped, a.Stop
}

// Delete removes the record of a container, its name, and what stands beside the record.
func (r *Record) Delete(tx *store.Tx) {
	Containers.Delete(tx, r.ID)
	Amendments.Delete(tx, r.ID)
	if id, ok := tx.Get(Names.Name, r.Name); ok && string(id) == r.ID {
		Names.Delete(tx, r.Name)
	}
}

// Amended tells whether there is something for [MergeAmendments] to do.
func Amended(r journal.Reader) (amended bool, err error) {
	err = Amendments.ForEachOr(r, func(id string, _ Amendment) error {
		raw, ok := r.Get(Containers.Name, id)
		if _, unread := Containers.Decode(id, raw); !ok || unread == nil {
			amended = true
		}
		return nil
	}, passOver)
	return amended, err
}

// join makes an amendment part of a record, and tells whether the container has ended by it.
func (r *Record) join(a Amendment) (ended bool) {
	ended = a.Exits > r.Exits && a.Status == StatusExited
	version, status, unknown := r.Version, r.Status, r.ExitUnknown
	if r.amend(a); r.Status == StatusDead {
		r.Status, r.ExitUnknown = status, unknown
	}
	r.Version = max(version, a.Version) + 1
	return ended
}

// MergeAmendments makes what happened to a container while its record could not be read part of the record, where it
// can be read now. An exit that came meanwhile is followed by what the record says: a restart, at once, or a removal.
func MergeAmendments(tx *store.Tx, now time.Time) error {
	return Amendments.ForEachOr(tx, func(id string, a Amendment) error {
		raw, ok := tx.Get(Containers.Name, id)
		r, err := Containers.Decode(id, raw)
		switch {
		case !ok:
			Amendments.Delete(tx, id)
			return nil
		case err != nil:
			return nil // still unreadable
		}
		if r.join(a) {
			r.EndHealth()
			r.PlanRestart(r.FinishedAt.Sub(r.StartedAt), now)
		}
		Amendments.Delete(tx, id)
		return r.Put(tx)
	}, passOver)
}
