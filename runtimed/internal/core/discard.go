package core

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
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// discard frees all parts of a task, whichever exist. It goes on after a failure and returns all errors. A later call
// frees what this one could not.
func (t *containerTask) discard(ctx context.Context) error {
	if err := t.endRuntime(ctx); err != nil {
		return fmt.Errorf("cannot free the task of container %q: %w", t.c.id, err)
	}
	t.c.d.parent.Deleted()
	var errs []error
	for _, p := range t.processes() {
		if term := p.terminal(); term != nil {
			term.Close()
		}
		p.releaseStreams("")
	}
	for _, path := range []string{t.bundle(), filepath.Join(t.c.dir, "execs"), t.init.dir} {
		errs = append(errs, t.dispose(path))
	}
	return errors.Join(append(errs, os.RemoveAll(t.file()))...)
}

// endRuntime has the OCI runtime delete the container, and unmounts the root filesystem: at the same time where no
// hook is run that might want it.
func (t *containerTask) endRuntime(ctx context.Context) error {
	var deleted, unmounted error
	var both sync.WaitGroup
	if statefile.Exists(t.init.dir) {
		both.Go(func() { deleted = t.deleteFromRuntime(ctx) })
	}
	if !t.record.StartsDirectly {
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

// deleteFromRuntime frees what the OCI runtime has of a task, the control groups that it has left, and its root
// directory, which a task of an earlier release shares with others.
func (t *containerTask) deleteFromRuntime(ctx context.Context) error {
	oci := t.record.Runtime
	if err := oci.Delete(ctx, t.c.id, t.init.dir); err != nil {
		return err
	}
	if err := t.removeGroups(ctx); err != nil || filepath.Base(oci.Root) != t.c.id {
		return err
	}
	return os.RemoveAll(oci.Root)
}

// discardLeftover frees what an earlier, failed discard left of the container's last task. The caller has the
// container, which has no task.
func (c *container) discardLeftover(ctx context.Context) error {
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
	return t.discard(ctx)
}

// discardFailed is discard for a create that failed. Errors are logged, since the caller returns the error of the
// create.
func (t *containerTask) discardFailed(bound time.Duration) {
	d := t.c.d
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	if err := t.discard(ctx); err != nil {
		d.log.WithError(err).Error(
			"cannot remove all that a failed create left; trying again at the next create or delete of the container")
	}
}
