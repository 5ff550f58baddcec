package exec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// ExecIDs returns the ids of a container's execs that have not ended, in order; nil for none.
func (e *Execs) ExecIDs(container string) []string {
	var ids []string
	for _, x := range e.of(container) {
		ids = append(ids, x.id)
	}
	slices.Sort(ids)
	return ids
}

func (e *Execs) of(container string) []*instance {
	var list []*instance
	for _, p := range e.c.Processes.Of(container) {
		if x, ok := p.(*instance); ok {
			list = append(list, x)
		}
	}
	return list
}

// ReadExecs reads the journal's records of execs, by container. It is called once, before the engine serves.
func (e *Execs) ReadExecs() (map[string][]record.Exec, error) {
	found := map[string][]record.Exec{}
	e.unread = map[string][]string{}
	err := e.c.Store.View(func(s *journal.Snapshot) error {
		return record.Execs.ForEachOr(s, func(_ string, r record.Exec) error {
			found[r.Container] = append(found[r.Container], r)
			return nil
		}, func(id string, raw []byte, why error) error {
			log.WithError(why).WithField("exec", id).Error(
				"cannot read the record of an exec; the exit of the exec is not reported, " +
					"and the record stays until its container is removed")
			container := record.ContainerOfExec(raw)
			e.unread[container] = append(e.unread[container], id)
			return nil
		})
	})
	return found, err
}

// RestoreExecs makes the execs of a container's run known again, and returns what the client layer takes them up with.
func (e *Execs) RestoreExecs(o *containers.Container, records []record.Exec) ([]libcontainerd.RestoreExec, error) {
	var taken []libcontainerd.RestoreExec
	for _, r := range records {
		t, err := e.restore(o, r)
		if err != nil {
			return nil, fmt.Errorf("exec %s: %w", r.ID, err)
		}
		taken = append(taken, t)
	}
	return taken, nil
}

// restore makes the exec of a record one of its container's again. The client that had the exec's stdin went with the
// engine, and the stdin goes with the client.
func (e *Execs) restore(o *containers.Container, r record.Exec) (libcontainerd.RestoreExec, error) {
	x, err := e.newInstance(r.ID, o, r.Request, true)
	if err != nil {
		return libcontainerd.RestoreExec{}, err
	}
	x.started, x.pid = true, r.Pid
	close(x.announced)
	e.c.Processes.Add(o.ID, x.id, x)
	e.add(x)
	return libcontainerd.RestoreExec{ID: x.id, Pid: x.pid, Stdio: libcontainerd.StdioConfig{
		Terminal: r.Request.Tty, Stdin: r.Request.AttachStdin,
	}, StdinClosed: true}, nil
}

// ForgetExecs deletes the records of execs whose container does not run.
func (e *Execs) ForgetExecs(ctx context.Context, stale []record.Exec) error {
	if len(stale) == 0 {
		return nil
	}
	return e.c.Store.Update(ctx, func(tx *store.Tx) error {
		for _, r := range stale {
			record.Execs.Delete(tx, r.ID)
		}
		return nil
	})
}

// DeleteUnread deletes the records of a container's execs that cannot be read. Those that can be read end with the run.
func (e *Execs) DeleteUnread(tx *store.Tx, container string) {
	for _, id := range e.unread[container] {
		record.Execs.Delete(tx, id)
	}
}

// ForgetUnread deletes the records that cannot be read of execs whose container is gone: an earlier release left them.
// A record that does not even say its container stays.
func (e *Execs) ForgetUnread(ctx context.Context, exists func(container string) bool) error {
	var gone []string
	for container := range e.unread {
		if container != "" && !exists(container) {
			gone = append(gone, container)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return e.c.Store.Update(ctx, func(tx *store.Tx) error {
		for _, container := range gone {
			e.DeleteUnread(tx, container)
		}
		return nil
	})
}

// AbandonExecs ends the execs of an ended container that were made and never started.
func (e *Execs) AbandonExecs(container string) error {
	var errs []error
	for _, x := range e.of(container) {
		errs = append(errs, x.abandon())
	}
	return errors.Join(errs...)
}

// dirPrefix begins the names of the directories of raw output of execs.
const dirPrefix = "exec-"

// LeftoverExecs returns the ids of execs that left raw output and that this engine does not know. An exec that ends
// meanwhile removes its directory before it is forgotten.
func (e *Execs) LeftoverExecs(container string) ([]string, error) {
	dirs, err := filepath.Glob(filepath.Join(e.c.Dir(container), dirPrefix+"*"))
	if err != nil {
		return nil, fmt.Errorf("list execs: %w", err)
	}
	var left []string
	for _, dir := range dirs {
		id := strings.TrimPrefix(filepath.Base(dir), dirPrefix)
		if e.c.Processes.Has(container, id) {
			continue
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			left = append(left, id)
		}
	}
	return left, nil
}

// SweepExecs removes the leftovers of execs that have ended. An exec whose start an earlier engine did not live to
// commit keeps its streams while it runs, and the keeper moves its output.
func (e *Execs) SweepExecs(ctx context.Context, container string, ids []string) error {
	var errs []error
	for _, id := range ids {
		if !e.ExecLives(ctx, container, id) {
			errs = append(errs, e.c.Stdio.Discard(ctx, container, id), os.RemoveAll(e.dir(container, id)))
		}
	}
	return errors.Join(errs...)
}

// ExecLives tells whether the runtime daemon has a living exec, and deletes there an exec that has ended. An exec of
// which the daemon does not say counts as living.
func (e *Execs) ExecLives(ctx context.Context, container, id string) bool {
	t, err := e.c.Daemon.Process(ctx, container, id)
	switch {
	case errdefs.IsNotFound(err):
		return false
	case err != nil, t.Status == libcontainerd.TaskRunning, t.Status == libcontainerd.TaskPaused:
		return true
	}
	if _, err := e.c.Daemon.Delete(ctx, container, id); err != nil && !errdefs.IsNotFound(err) {
		log.WithError(err).WithField("exec", id).Warn(
			"cannot delete an ended exec at the runtime daemon; the daemon deletes it together with the container")
	}
	return false
}
