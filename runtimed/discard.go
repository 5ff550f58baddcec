package runtimed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/span"
)

// discardTask frees all that a task is made of, whatever part of it there is. It goes on after a failure and says what failed; a call
// later does the rest.
func (d *Daemon) discardTask(ctx context.Context, t *containerTask) error {
	if err := d.endRuntime(ctx, t); err != nil {
		return fmt.Errorf("cannot free the task of container %q: %w", t.c.id, err)
	}
	var errs []error
	for _, p := range t.processes() {
		if term := p.terminal(); term != nil {
			term.close()
		}
		d.releaseStreams(p, "")
	}
	for _, path := range []string{t.bundle(), filepath.Join(t.c.dir, "execs"), t.init.dir} {
		errs = append(errs, d.dispose(t, path))
	}
	return errors.Join(append(errs, os.RemoveAll(t.file()))...)
}

// endRuntime has the OCI runtime delete the container, and unmounts the root filesystem: at the same time where no hook is run that might want it.
func (d *Daemon) endRuntime(ctx context.Context, t *containerTask) error {
	var deleted, unmounted error
	var both sync.WaitGroup
	if exists(t.init.dir) {
		both.Go(func() { deleted = d.deleteFromRuntime(ctx, t) })
	}
	if !t.record.Releasable {
		both.Wait()
	}
	if t.record.Mounted {
		_, s := span.Start(ctx, "unmount")
		unmounted = unmountAll(t.rootfs())
		s.End(unmounted)
	}
	both.Wait()
	return errors.Join(deleted, unmounted)
}

// deleteFromRuntime frees what the OCI runtime has of a task, the control groups that it has left, and its root directory, which a task of an earlier
// release shares with others.
func (d *Daemon) deleteFromRuntime(ctx context.Context, t *containerTask) error {
	oci := t.record.Runtime
	if err := oci.delete(ctx, t.c.id, t.init.dir); err != nil {
		return err
	}
	if err := d.removeGroups(ctx, t); err != nil || filepath.Base(oci.Root) != t.c.id {
		return err
	}
	return os.RemoveAll(oci.Root)
}

// discardRemains frees what a discard that failed has left of a container's last task. The caller has the container, which has no task.
func (d *Daemon) discardRemains(ctx context.Context, c *container) error {
	t, err := readTask(c)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := t.init.loadRecords(); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return d.discardTask(ctx, t)
}

// discard is discardTask for a create that failed: the caller gets the error of the create, so what fails here is logged.
func (d *Daemon) discard(t *containerTask, bound time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	if err := d.discardTask(ctx, t); err != nil {
		d.log.WithError(err).Error("a task that could not be created left something behind")
	}
}
