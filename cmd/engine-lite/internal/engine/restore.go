package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"

	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/journal"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// restore puts the journal's containers into memory. Those that ran are taken
// up at the client layer, which finds out what happened meanwhile; the others
// are returned.
func (e *Engine) restore(ctx context.Context) (idle []*task, err error) {
	var records []*record.Record
	err = e.store.View(func(s *journal.Snapshot) error {
		return record.All(s, func(r *record.Record) error {
			records = append(records, r)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	execs, err := e.ReadExecs()
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if r.Unreadable() != nil {
			if r, err = e.adoptUnreadable(ctx, r); err != nil {
				return nil, err
			}
		}
		o := e.newTask(r)
		e.register(o, r.Name)
		if !r.Running() {
			idle = append(idle, o)
			continue
		}
		if err := e.restoreRun(ctx, o, r, execs[r.ID]); err != nil {
			return nil, fmt.Errorf("restore container %s: %w", r.ID, err)
		}
		delete(execs, r.ID)
	}
	if err := e.ForgetExecs(ctx, slices.Concat(slices.Collect(maps.Values(execs))...)); err != nil {
		return nil, err
	}
	return idle, e.ForgetUnread(ctx, func(id string) bool {
		return slices.ContainsFunc(records, func(r *record.Record) bool { return r.ID == id })
	})
}

// restoreRun takes a container up that ran when the journal last knew. A client
// that had its stdin went with the engine, and the stdin goes with the client.
func (e *Engine) restoreRun(ctx context.Context, o *task, r *record.Record, execs []record.Exec) error {
	l, err := e.runIO(ctx, o)
	if err != nil {
		return err
	}
	l.SetStdinClosed(r.StdinClosed || r.StdinTaken)
	o.Change(func() { o.generation, o.cleanup = r.Generation, make(chan struct{}) })
	if err := e.resources.Adopt(ctx, r, resources.Run(r.ID, r.Generation)); err != nil {
		log.WithError(err).WithField("container", r.ID).Error("cannot take up all that the container's run has taken")
	}
	taken, err := e.RestoreExecs(o.Container, execs)
	if err != nil {
		return err
	}
	ctr, err := e.client.Restore(ctx, r.ID, libcontainerd.RestoreOptions{
		Generation: r.Generation, Pid: r.Pid, Paused: r.Status == record.StatusPaused, OOMDelivered: r.OOMKilled,
		Execs: taken, Exit: exitOf(r),
		Stdio: libcontainerd.StdioConfig{Terminal: l.Terminal, Stdin: l.Stdin}, StdinClosed: l.StdinClosed(),
	})
	if err != nil {
		return err
	}
	o.LockState()
	defer o.UnlockState()
	if o.Rec.Running() {
		o.Task = ctr
	}
	return nil
}

// exitOf is the exit of a run that an earlier engine wrote down and did not see through; nil where there is none.
func exitOf(r *record.Record) *libcontainerd.Exit {
	x := r.EndedRun()
	if x == nil {
		return nil
	}
	return &libcontainerd.Exit{Code: x.Code, Unknown: x.Reason, Time: x.Time, OOMKilled: x.OOMKilled}
}
