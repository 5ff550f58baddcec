package core

import (
	"context"
	"os"
	"path/filepath"

	"github.com/engine-lite/engine-lite/runtimed/internal/criu"
	"github.com/engine-lite/engine-lite/runtimed/internal/ociruntime"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// readyFile marks a task whose start will restore a checkpoint: its create is complete, with no process yet.
// containerd does the same: a restored process runs at once, so it must not be there before it is started.
const readyFile = "ready"

// readyToRestore completes the create of a task that is restored by its start, unless admit refuses it.
func (p *Process) readyToRestore(ctx context.Context, admit func() error) error {
	d := p.task.c.d
	if err := d.host.Features.RequireCRIU(ctx, p.task.record.Runtime.Path); err != nil {
		return err
	}
	if err := statefile.Write(p.file(readyFile), nil); err != nil {
		return err
	}
	return admit()
}

// awaitsRestore tells whether the process's start will restore it: it has no pid until then.
func (p *Process) awaitsRestore() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.task.record.Restore != nil && p.status == created && p.pid == 0
}

// restore makes an init process out of its checkpoint. After an error it is as it was before.
func (p *Process) restore(ctx context.Context) error {
	d := p.task.c.d
	t, plan := p.task, p.task.record.Restore
	work := plan.Work
	if work == "" {
		work = p.file("criu")
	}
	if err := os.MkdirAll(work, 0o700); err != nil {
		return err
	}
	err := criu.With(ctx, d.tmp(), plan.Manifest.Inherit(), func(ctx context.Context) error {
		return p.launch(ctx, func(a ociruntime.Launch) error {
			return t.record.Runtime.Restore(ctx, t.c.id, t.bundle(), plan.Manifest.Options(plan.Images, work), a)
		}, nil)
	})
	if err != nil {
		err = criu.Explain(err, filepath.Join(work, "restore.log"))
		p.undoRestore(ctx)
	}
	if plan.Work == "" {
		if rm := os.RemoveAll(work); rm != nil {
			d.log.WithError(rm).WithField("process", p.String()).Warn(
				"cannot remove CRIU's work directory after a restore")
		}
	}
	return err
}

// undoRestore takes back what a restore that failed, or was cut short, has left.
func (p *Process) undoRestore(ctx context.Context) {
	d := p.task.c.d
	ctx = context.WithoutCancel(ctx)
	ctx, cancel := context.WithTimeout(ctx, runtimeTimeout)
	defer cancel()
	err := p.task.record.Runtime.Delete(ctx, p.task.c.id, p.dir)
	if err == nil {
		err = p.task.removeGroups(ctx)
	}
	if err != nil {
		d.log.WithError(err).WithField("process",
			p.String()).Error("cannot remove all that the failed restore of a process left")
	}
	p.undoStart()
}
