package engine

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// recordExecStart commits the event of an exec's start and a record that it runs.
func (e *Engine) recordExecStart(ctx context.Context, x *execution, ev libcontainerd.Event) error {
	r := record.Exec{ID: x.id, Container: x.owner.ID, Pid: ev.Pid, Request: x.request}
	return e.commitExec(ctx, x, containers.Change{
		Action: "exec_start: " + strings.Join(x.request.Cmd, " "), Recovered: ev.Recovered, Attributes: x.attributes(warningAttributes(ev)),
		Also: func(tx *store.Tx, _ *record.Record) error { return record.Execs.Put(tx, x.id, r) },
	})
}

// recordExecExit commits the event of an exec's exit, and deletes its record.
func (e *Engine) recordExecExit(ctx context.Context, x *execution, ev libcontainerd.Event) error {
	return e.commitExec(ctx, x, containers.Change{
		Action: "exec_die", Recovered: ev.Recovered,
		Attributes: x.attributes(map[string]string{"exitCode": strconv.Itoa(shownCode(ev.Exit))}),
		Also: func(tx *store.Tx, _ *record.Record) error {
			record.Execs.Delete(tx, x.id)
			return nil
		},
	})
}

// commitExec commits what changes nothing of the container itself. One that was
// removed meanwhile has no execs.
func (e *Engine) commitExec(ctx context.Context, x *execution, c containers.Change) error {
	c.Mutate = func(*record.Record) error { return nil }
	_, _, err := x.owner.Commit(context.WithoutCancel(ctx), c)
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// readExecs reads the records of execs, by container.
func (e *Engine) readExecs() (map[string][]record.Exec, error) {
	found := map[string][]record.Exec{}
	err := e.store.View(func(s *journal.Snapshot) error {
		return record.Execs.ForEachOr(s, func(_ string, r record.Exec) error {
			found[r.Container] = append(found[r.Container], r)
			return nil
		}, func(id string, _ []byte, why error) error {
			log.WithError(why).WithField("exec", id).Error("the record of an exec cannot be read: nobody learns of its exit")
			return nil
		})
	})
	return found, err
}

// restoreExecs makes the execs of a run known again.
func (e *Engine) restoreExecs(o *task, records []record.Exec) ([]libcontainerd.RestoreExec, error) {
	var taken []libcontainerd.RestoreExec
	for _, r := range records {
		t, err := e.restoreExec(o, r)
		if err != nil {
			return nil, fmt.Errorf("exec %s: %w", r.ID, err)
		}
		taken = append(taken, t)
	}
	return taken, nil
}

// restoreExec makes the exec of a record one of its container's again. A client
// that had its stdin went with the engine, and the stdin goes with the client.
func (e *Engine) restoreExec(o *task, r record.Exec) (libcontainerd.RestoreExec, error) {
	x := &execution{id: r.ID, owner: o, request: r.Request, started: true, pid: r.Pid, exited: make(chan struct{}), announced: make(chan struct{})}
	var err error
	x.io, err = stdio.Open(stdio.Config{
		Terminal: r.Request.Tty, Stdin: r.Request.AttachStdin, Once: true, StdinClosed: true,
		RawDir: e.execDir(o.ID, x.id), Bound: e.opts.OutputBound, Clients: &e.clients,
	})
	if err != nil {
		return libcontainerd.RestoreExec{}, err
	}
	o.Change(func() { o.execs[x.id] = x })
	e.execs.add(x)
	return libcontainerd.RestoreExec{ID: x.id, Pid: x.pid, Stdio: libcontainerd.StdioConfig{
		Terminal: r.Request.Tty, Stdin: r.Request.AttachStdin, StdinClosed: true,
	}}, nil
}

func (e *Engine) execDir(container, exec string) string {
	return filepath.Join(e.containerDir(container), execDirPrefix+exec)
}

// forgetExecs deletes the records of execs whose container doesn't run.
func (e *Engine) forgetExecs(ctx context.Context, stale []record.Exec) error {
	if len(stale) == 0 {
		return nil
	}
	return e.store.Update(ctx, func(tx *store.Tx) error {
		for _, r := range stale {
			record.Execs.Delete(tx, r.ID)
		}
		return nil
	})
}
