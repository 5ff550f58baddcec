package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/api/events"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"

	"github.com/engine-lite/engine-lite/fifo"
	"github.com/engine-lite/engine-lite/internal/span"
	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/runtimed/internal/cgroup"
	"github.com/engine-lite/engine-lite/runtimed/internal/ociruntime"
	"github.com/engine-lite/engine-lite/runtimed/internal/ocispec"
	"github.com/engine-lite/engine-lite/runtimed/internal/proc"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
	"github.com/engine-lite/engine-lite/runtimed/internal/terminal"
)

// CreateTask creates a container's task. When the request ends before the OCI runtime has created it, or anything
// fails, nothing is left. It returns the init process.
func (d *Daemon) CreateTask(ctx context.Context, ns string, r *tasks.CreateTaskRequest) (*Process, error) {
	c, err := d.find(ns, r.ContainerID)
	if err != nil {
		return nil, err
	}
	if _, err := d.keeper.Get(); err != nil {
		return nil, err // without the keeper the exit would be lost
	}
	var p *Process
	err = c.change(ctx, func(op context.Context) error {
		t, err := c.newTask(op, r)
		if err != nil {
			return err
		}
		if err := c.discardLeftover(op); err != nil {
			t.endPlan()
			return err
		}
		created, err := d.parent.Creating(op)
		if err != nil {
			t.endPlan()
			return err
		}
		defer created()
		if err := t.make(op, ctx, r); err != nil {
			return err
		}
		p = t.init
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// giveUpGrace is how long an OCI runtime may go on after its request has ended. The runtime is left to finish, and
// its work is undone afterwards: a runtime that is killed in a create leaves control groups behind.
const giveUpGrace = 10 * time.Second

// outlive returns a context of an operation that ends with it, or some time after the request.
func outlive(op, request context.Context, grace time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancel(op)
	stop := context.AfterFunc(request, func() { time.AfterFunc(grace, cancel) })
	return ctx, func() { stop(); cancel() }
}

// newTask checks a request and plans the task, with nothing done yet.
func (c *container) newTask(ctx context.Context, r *tasks.CreateTaskRequest) (*containerTask, error) {
	if c.get() != nil {
		return nil, fmt.Errorf("container %q has a task: %w", c.id, errdefs.ErrAlreadyExists)
	}
	if c.isDeleted() {
		return nil, fmt.Errorf("container %q was deleted: %w", c.id, errdefs.ErrNotFound)
	}
	if r.Checkpoint != nil {
		return nil, fmt.Errorf("cannot create container %q from a checkpoint in a content store, which runtimed doesn't have (a directory does, as criu_image_path): %w",
			c.id, errdefs.ErrNotImplemented)
	}
	record, err := c.read()
	if err != nil {
		return nil, err
	}
	spec, err := ocispec.Parse(record.Spec)
	if err != nil {
		return nil, err
	}
	if spec.Process.Terminal != r.Terminal {
		return nil, fmt.Errorf("terminal is %t in the spec and %t in the request: %w",
			spec.Process.Terminal, r.Terminal, errdefs.ErrInvalidArgument)
	}
	t := &containerTask{c: c, execs: make(map[string]*Process),
		record: taskRecord{Mounted: len(r.Rootfs) > 0, HostPid: ocispec.SharesPidNamespace(spec)}}
	if err := t.planRuntime(record, r); err != nil {
		return nil, err
	}
	t.record.StartsDirectly = t.record.Runtime.CanStartDirectly(spec)
	if t.record.Planned, err = t.record.Runtime.PlanGroups(spec, c.id); err != nil {
		return nil, err
	}
	t.init = newProcess(t, "", processRecord{
		Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal, Asked: time.Now(),
	}, creating)
	if err := checkStreams(t.init.record); err != nil {
		return nil, err
	}
	_, s := span.Start(ctx, "plan")
	t.plan, err = t.makePlan(ctx, spec, record.Spec.GetValue())
	s.End(err)
	if err != nil {
		return nil, err
	}
	t.oomScore = spec.Process.OOMScoreAdj
	if t.record.Restore != nil && (t.record.IsSandbox || t.record.Sandbox != nil) {
		t.endPlan()
		return nil, fmt.Errorf("cannot restore container %q as a sandbox or into one: %w",
			c.id, errdefs.ErrNotImplemented)
	}
	return t, nil
}

// make does what a create does, step by step, and takes all of it back after an error, or when the request has ended:
// a task that nobody waits for is not wanted.
func (t *containerTask) make(ctx, request context.Context, r *tasks.CreateTaskRequest) (err error) {
	c, p := t.c, t.init
	defer t.endPlan()
	var back undo
	defer back.unless(&err)
	back.add(func() { t.discardFailed(runtimeTimeout) })
	_, s := span.Start(ctx, "bundle")
	err = prepareBundle(t)
	s.End(err)
	if err != nil {
		return err
	}
	_, s = span.Start(ctx, "mounts")
	err = mount.All(mount.FromProto(r.Rootfs), t.rootfs())
	s.End(err)
	if err != nil {
		return fmt.Errorf("cannot mount the root filesystem of container %q: %w", c.id, err)
	}
	if err := request.Err(); err != nil {
		return err
	}
	admit := func() error {
		if err := request.Err(); err != nil {
			return err
		}
		return t.register()
	}
	if t.record.Restore != nil {
		err = p.readyToRestore(ctx, admit)
	} else {
		err = p.launch(ctx,
			func(a ociruntime.Launch) error { return t.record.Runtime.Create(ctx, c.id, t.bundle(), a) }, admit)
	}
	if err != nil {
		return err
	}
	p.announceCreated(r)
	return nil
}

// launch lets the OCI runtime make a process, whose exit is awaited from then on, unless admit, which may be nil,
// refuses it.
func (p *Process) launch(ctx context.Context, run func(ociruntime.Launch) error, admit func() error) error {
	d := p.task.c.d
	d.prepareMigration()
	w := d.exits.open()
	defer d.closeWindow(w)
	if err := p.spawn(ctx, run); err != nil {
		return err
	}
	if err := p.recordStart(); err != nil {
		return err
	}
	if admit != nil {
		if err := admit(); err != nil {
			return err
		}
	}
	p.expect(w)
	return nil
}

func (p *Process) announceCreated(r *tasks.CreateTaskRequest) {
	d := p.task.c.d
	p.mu.Lock()
	p.status = created
	d.publish(p.task.c.ns, runtime.TaskCreateEventTopic, &events.TaskCreate{
		ContainerID: p.task.c.id, Bundle: p.task.bundle(), Rootfs: r.Rootfs, Pid: uint32(p.pid),
		IO: &events.TaskIO{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal},
	})
	p.mu.Unlock()
	p.finishEarly()
}

func (t *containerTask) bundle() string { return filepath.Join(t.c.dir, "bundle") }
func (t *containerTask) rootfs() string { return filepath.Join(t.bundle(), "rootfs") }
func (t *containerTask) file() string   { return filepath.Join(t.c.dir, taskFile) }

// prepareBundle writes down what is going to be done, and then the bundle.
func prepareBundle(t *containerTask) error {
	if err := statefile.WriteJSON(t.file(), t.record); err != nil {
		return err
	}
	for _, dir := range []string{t.init.dir, t.rootfs(), t.record.Runtime.Root} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return err
		}
	}
	return errors.Join(
		statefile.WriteJSON(t.init.file("process.json"), t.init.record),
		statefile.Write(filepath.Join(t.bundle(), "config.json"), t.plan.config),
	)
}

// spawn opens the streams of a process and lets the OCI runtime make the process. Then the process has its pid, the
// keeper holds its stdin, and its terminal runs. After an error, releaseStreams undoes what was done at the keeper.
func (p *Process) spawn(ctx context.Context, run func(ociruntime.Launch) error) (err error) {
	d := p.task.c.d
	a := ociruntime.Launch{Dir: p.dir}
	paths := p.record.paths()
	files, err := fifo.OpenContainer(ctx, paths)
	if err != nil {
		return err
	}
	defer files.Close() // the process has its own by then
	a.Stdio = ociruntime.Stdio{ContainerFiles: files}
	if err := p.task.record.chown(files, paths); err != nil {
		return err
	}
	if p.record.Terminal { // the container's streams are the terminal; the FIFOs were only looked at, before anything is done
		null, err := fifo.OpenContainer(ctx, fifo.Paths{})
		if err != nil {
			return err
		}
		defer null.Close()
		a.Stdio = ociruntime.Stdio{ContainerFiles: null}
	} else if paths.Stdin != "" {
		if err := p.holdStdin(ctx, paths.Stdin); err != nil {
			return err
		}
		if statefile.Exists(p.file(stdinClosedFile)) { // before there was one to close
			p.releaseStreams(keeper.Stdin)
		}
	}
	var socket *terminal.ConsoleSocket
	if p.record.Terminal {
		if socket, err = terminal.NewConsoleSocket(d.tmp()); err != nil {
			return err
		}
		defer socket.Close() // it is only a name by now
		a.Console = runc.ConsoleSocket(socket)
	}
	began := proc.Now()
	if err := run(a); err != nil {
		return errors.Join(err, ctx.Err())
	}
	pid, err := statefile.ReadPid(p.file("pid"))
	if err != nil {
		return err
	}
	start, err := d.verifyNew(ctx, pid, began)
	if err != nil {
		return err
	}
	if err := p.writeOOMScore(pid); err != nil {
		return err
	}
	p.mu.Lock()
	p.pid, p.start = pid, start
	p.mu.Unlock()
	if socket == nil {
		return nil
	}
	return p.attachTerminal(ctx, socket)
}

// recordStart writes down that a process exists; for an init process also its control groups.
func (p *Process) recordStart() error {
	p.mu.Lock()
	r := startRecord{Pid: p.pid, Start: p.start}
	p.mu.Unlock()
	if p.exec == "" {
		g, err := cgroup.ForProcess(r.Pid)
		if err != nil && !errdefs.IsNotFound(err) { // not found: it was killed already
			return err
		}
		p.task.setGroups(g)
		r.Groups = &g
	}
	return statefile.WriteJSON(p.file("start"), r)
}
