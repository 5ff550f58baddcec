package exec

import (
	"context"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/process"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

var _ process.Process = (*instance)(nil)

// Attach takes the exec's streams.
func (x *instance) Attach(s libcontainerd.Streams) error {
	x.io.Attach(s)
	return nil
}

// Held is the exec's IO.
func (x *instance) Held() (*stdio.IO, error) { return x.io, nil }

// Started commits the event of the exec's start and a record that the exec runs. That is done here and not in run: the
// exit of a short exec would come before the start there.
func (x *instance) Started(ctx context.Context, ev libcontainerd.Event) error {
	r := record.Exec{ID: x.id, Container: x.owner.ID, Pid: ev.Pid, Request: x.request}
	err := x.commit(ctx, containers.Change{
		Action: "exec_start: " + strings.Join(x.request.Cmd, " "), Recovered: ev.Recovered,
		Attributes: Attributes(x.id, process.WarningAttributes(ev)),
		Also:       func(tx *store.Tx, _ *record.Record) error { return record.Execs.Put(tx, x.id, r) },
	})
	if err != nil {
		return err
	}
	close(x.announced)
	return nil
}

// Exited commits the event of the exec's exit, and deletes the record of the exec. Drained comes next.
func (x *instance) Exited(ctx context.Context, ev libcontainerd.Event) error {
	code := process.ShownExitCode(ev.Exit)
	err := x.commit(ctx, containers.Change{
		Action: "exec_die", Recovered: ev.Recovered,
		Attributes: Attributes(x.id, map[string]string{"exitCode": strconv.Itoa(code)}),
		Also: func(tx *store.Tx, _ *record.Record) error {
			record.Execs.Delete(tx, x.id)
			return nil
		},
	})
	if err != nil {
		return err
	}
	x.setExit(code)
	return nil
}

// Drained waits for the rest of the output and ends the exec.
func (x *instance) Drained(ctx context.Context) error {
	if err := process.Drain(ctx, x.owner.ID, x.io); err != nil {
		return err
	}
	x.finish()
	return nil
}

// commit commits what changes nothing of the container itself. A container that was removed meanwhile has no execs.
func (x *instance) commit(ctx context.Context, c containers.Change) error {
	c.Mutate = func(*record.Record) error { return nil }
	_, _, err := x.owner.Commit(context.WithoutCancel(ctx), c)
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
