package runtimed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/errdefs"
)

// readyFile marks a task whose start will restore a checkpoint: its create is complete, with no process yet. containerd does the same: a
// restored process runs at once, so it must not be there before it is started.
const readyFile = "ready"

// restorePlan is where a task comes from.
type restorePlan struct {
	Images   string   `json:"images"`
	Work     string   `json:"work,omitempty"` // empty for a directory of the task
	Manifest manifest `json:"manifest"`
}

// planRestore checks a request's checkpoint. NotImplemented without CRIU, InvalidArgument for bad paths, NotFound without the checkpoint, DataLoss for
// one that is damaged.
func planRestore(opts *options.Options, terminal bool) (*restorePlan, error) {
	plan := &restorePlan{Images: opts.CriuImagePath, Work: opts.CriuWorkPath}
	for _, path := range []string{plan.Images, plan.Work} {
		if path != "" && (!filepath.IsAbs(path) || filepath.Clean(path) != path) {
			return nil, fmt.Errorf("%.200q is not an absolute and clean path: %w", path, errdefs.ErrInvalidArgument)
		}
	}
	if _, err := findCRIU(); err != nil {
		return nil, err
	}
	info, err := os.Stat(plan.Images)
	if err != nil {
		return nil, fmt.Errorf("no checkpoint: %w", classed(err))
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("checkpoint %s is not a directory: %w", plan.Images, errdefs.ErrInvalidArgument)
	}
	// One that runtimed hasn't made has none.
	err = readJSON(filepath.Join(plan.Images, manifestFile), &plan.Manifest)
	if errdefs.IsNotFound(err) {
		return plan, nil
	}
	if err != nil {
		return nil, err
	}
	if plan.Manifest.Terminal != terminal {
		return nil, fmt.Errorf("terminal is %t in the checkpoint and %t in the request: %w", plan.Manifest.Terminal, terminal, errdefs.ErrInvalidArgument)
	}
	return plan, plan.Manifest.check()
}

// externalName is what externalFile makes.
var externalName = regexp.MustCompile(`^file\[[0-9a-f]{1,16}:[0-9a-f]{1,16}\]$`)

// check refuses a manifest with names that are none. It came from a directory of the client's.
func (m manifest) check() error {
	for _, name := range m.Streams {
		if name != "" && !externalName.MatchString(name) {
			return fmt.Errorf("the checkpoint names a stream %.100q: %w", name, errdefs.ErrDataLoss)
		}
	}
	return nil
}

// inherit are the arguments by which CRIU gives a restored process its own standard streams in place of the FIFOs that they were.
func (m manifest) inherit() []string {
	var args []string
	for fd, name := range m.Streams {
		if name != "" {
			args = append(args, "--inherit-fd", "fd["+strconv.Itoa(fd)+"]:"+name)
		}
	}
	return args
}

// readyToRestore completes the create of a task that is restored by its start, unless admit refuses it.
func (d *Daemon) readyToRestore(ctx context.Context, p *process, admit func() error) error {
	if err := d.requireCheckpoints(ctx, p.task.record.Runtime); err != nil {
		return err
	}
	if err := writeFile(p.file(readyFile), nil); err != nil {
		return err
	}
	return admit()
}

// awaitsRestore tells whether the process's start will restore it: it has no pid until then.
func (p *process) awaitsRestore() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.task.record.Restore != nil && p.status == created && p.pid == 0
}

// restoreTask makes an init process out of its checkpoint. After an error it is as it was before.
func (d *Daemon) restoreTask(ctx context.Context, p *process) error {
	t, plan := p.task, p.task.record.Restore
	work := plan.Work
	if work == "" {
		work = p.file("criu")
	}
	if err := os.MkdirAll(work, 0o700); err != nil {
		return err
	}
	err := d.withCRIU(ctx, plan.Manifest.inherit(), func(ctx context.Context) error {
		return d.launch(ctx, p, func(a createArgs) error {
			return t.record.Runtime.restore(ctx, t.c.id, t.bundle(), plan.Manifest.options(plan.Images, work), a)
		}, nil)
	})
	if err != nil {
		err = criuFailure(err, filepath.Join(work, "restore.log"))
		d.unwindRestore(ctx, p)
	}
	if plan.Work == "" {
		if rm := os.RemoveAll(work); rm != nil {
			d.log.WithError(rm).WithField("process", p.String()).Warn("CRIU's work directory is left")
		}
	}
	return err
}

// unwindRestore takes back what a restore that failed, or was cut short, has left.
func (d *Daemon) unwindRestore(ctx context.Context, p *process) {
	ctx = context.WithoutCancel(ctx)
	ctx, cancel := context.WithTimeout(ctx, runtimeTimeout)
	defer cancel()
	err := p.task.record.Runtime.delete(ctx, p.task.c.id, p.dir)
	if err == nil {
		err = d.removeGroups(ctx, p.task)
	}
	if err != nil {
		d.log.WithError(err).WithField("process", p.String()).Error("a process that could not be restored left something behind")
	}
	d.unwind(p)
}
