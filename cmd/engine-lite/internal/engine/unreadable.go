package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// mergeAmendments takes up what an engine of another release wrote down beside records that it could not read.
func (e *Engine) mergeAmendments(ctx context.Context) error {
	var amended bool
	err := e.store.View(func(s *journal.Snapshot) (err error) {
		amended, err = record.Amended(s)
		return err
	})
	if err != nil || !amended {
		return err
	}
	return e.store.Update(ctx, func(tx *store.Tx) error { return record.MergeAmendments(tx, time.Now()) })
}

// askTimeout bounds how long the runtime daemon is asked after a container whose record cannot be read.
const askTimeout = 5 * time.Second

// adoptUnreadable finds out what became of a container whose record cannot be read, and writes that down beside the
// record: from the runtime daemon whether the container runs, and from the events how it ended, where the record says
// neither. It returns what is known of the container then.
func (e *Engine) adoptUnreadable(ctx context.Context, r *record.Record) (*record.Record, error) {
	log.WithError(r.Unreadable()).WithField("container", r.ID).Error(
		"cannot read the record of a container; start, restart, exec and rename of the container are refused")
	if r.Running() {
		return r, nil
	}
	task, err := e.askForTask(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	if task.Pid == 0 && r.Status != record.StatusDead {
		return r, nil
	}
	seen, err := e.lastSeen(ctx, r.ID)
	if err != nil {
		return nil, fmt.Errorf("look for the last events of container %s: %w", r.ID, err)
	}
	if task.Pid == 0 && seen.Action != "die" {
		return r, nil
	}
	var found *record.Record
	err = e.store.Update(ctx, func(tx *store.Tx) error {
		if found, err = record.Load(tx, r.ID); err != nil {
			return err
		}
		found.Generation = max(found.Generation, seen.Generation, 1)
		found.Version++
		if task.Pid == 0 {
			setEnded(found, seen)
			return found.Put(tx)
		}
		found.Status, found.Pid, found.Exits = record.StatusRunning, task.Pid, found.Generation-1
		if task.Status == libcontainerd.TaskPaused {
			found.Status = record.StatusPaused
		}
		return found.Put(tx)
	})
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", r.ID, err)
	}
	return found, nil
}

// askForTask asks the runtime daemon for the living task of a container. Its pid is 0 where there is none, or where the
// daemon does not say.
func (e *Engine) askForTask(ctx context.Context, id string) (none libcontainerd.Task, err error) {
	ask, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	task, err := e.daemon.Process(ask, id, libcontainerd.InitProcess)
	switch {
	case ctx.Err() != nil:
		return none, ctx.Err()
	case errdefs.IsNotFound(err):
		return none, nil
	case err != nil:
		log.WithError(err).WithField("container", id).Warn(
			"the runtime daemon does not answer whether the container runs; the engine asks again at its next start")
		return none, nil
	case task.Status != libcontainerd.TaskRunning && task.Status != libcontainerd.TaskPaused:
		return none, nil
	}
	return task, nil
}

// setEnded makes a record that of a container whose last exit is a die event.
func setEnded(r *record.Record, die journal.Event) {
	code, err := strconv.Atoi(die.Attributes["exitCode"])
	unknown := die.Attributes["exitUnknown"]
	if err != nil {
		unknown = cmp.Or(unknown, "its event does not say")
	}
	r.SetExited(code, unknown, r.OOMKilled, die.Time)
	r.DieSeq = die.Seq
}

// lastSeen is the last event that tells of a change of a container's state; one without an action where there is none.
func (e *Engine) lastSeen(ctx context.Context, id string) (last journal.Event, err error) {
	for c := e.store.Cursor(e.store.Oldest() - 1); ctx.Err() == nil; {
		ev, ok, err := c.Poll()
		if err != nil || !ok {
			return last, err
		}
		switch ev.Action {
		case "create", "start", "pause", "unpause", "die":
			if ev.ID == id {
				last = ev
			}
		}
	}
	return last, ctx.Err()
}

// deleteUnreadable deletes what the runtime daemon has of a container whose record cannot be read, and that does not
// run: the sweep leaves such a container alone.
func (e *Engine) deleteUnreadable(ctx context.Context, o *task) error {
	left, err := e.findLeftovers(ctx)
	if err != nil {
		return err
	}
	return errors.Join(e.sweepDaemon(ctx, o, left), e.sweepStreams(ctx, o, left, libcontainerd.InitProcess))
}
