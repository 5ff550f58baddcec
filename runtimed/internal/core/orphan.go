package core

import (
	"context"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/runtimed/internal/proc"
)

// watchOrphans watches the processes that are not children of the keeper, because an earlier keeper was killed. The
// host's init reaps them, so that the keeper never reports their exits. Each one is watched by its pidfd, in a
// goroutine that ends with the process or with ctx.
func (d *Daemon) watchOrphans(ctx context.Context) {
	k, err := d.keeper.Get()
	if err != nil {
		return // the next connection comes here again
	}
	for pid, l := range d.exits.all() {
		parent, err := proc.Parent(pid)
		if l.start == 0 || l.watched || err != nil || parent == k.Pid() {
			continue
		}
		if d.exits.watch(pid, l.p) {
			d.work.Go(func() { d.watchOrphan(ctx, pid, l) })
		}
	}
}

func (d *Daemon) watchOrphan(ctx context.Context, pid int, l liveProcess) {
	exit, err := proc.AwaitEnd(ctx, pid, l.start)
	if ctx.Err() != nil {
		return // the next daemon finds it
	}
	if err != nil && !errdefs.IsNotFound(err) {
		d.log.WithError(err).WithField("process",
			l.p.String()).Error(
			"cannot wait for the exit of a process that is not the keeper's child; the next runtimed tries again")
		return
	}
	if !d.exits.forget(pid, l.p) {
		return
	}
	if exit == nil {
		l.p.finish(unknownExit("the process ended after its keeper had been killed"), nil)
		return
	}
	l.p.exited(*exit)
}
