package runtimed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/containerd/api/events"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/engine-lite/engine-lite/fifo"
	"github.com/engine-lite/engine-lite/internal/span"
	"github.com/engine-lite/engine-lite/keeper"
)

// createTask creates a container's task. When the request ends before the OCI runtime has created it, or anything fails, nothing is left.
// It returns the init process.
func (d *Daemon) createTask(ctx context.Context, c *container, r *tasks.CreateTaskRequest) (*process, error) {
	if _, err := d.keeper.get(); err != nil {
		return nil, err // without the keeper the exit would be lost
	}
	var p *process
	err := d.change(ctx, c, func(op context.Context) error {
		t, err := d.newTask(op, c, r)
		if err != nil {
			return err
		}
		if err := d.discardRemains(op, c); err != nil {
			t.endPlan()
			return err
		}
		if err := d.makeTask(op, ctx, t, r); err != nil {
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

// giveUpGrace is how long the OCI runtime may go on with what nobody waits for any more. It is let finish, and what it made is taken back then: killed in the
// middle of a create it leaves control groups that nobody knows of.
const giveUpGrace = 10 * time.Second

// outlive returns a context of an operation that ends with it, or some time after the request.
func outlive(op, request context.Context, grace time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancel(op)
	stop := context.AfterFunc(request, func() { time.AfterFunc(grace, cancel) })
	return ctx, func() { stop(); cancel() }
}

// newTask checks a request and plans the task, with nothing done yet.
func (d *Daemon) newTask(ctx context.Context, c *container, r *tasks.CreateTaskRequest) (*containerTask, error) {
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
	spec, err := parseSpec(record.Spec)
	if err != nil {
		return nil, err
	}
	if spec.Process.Terminal != r.Terminal {
		return nil, fmt.Errorf("terminal is %t in the spec and %t in the request: %w", spec.Process.Terminal, r.Terminal, errdefs.ErrInvalidArgument)
	}
	t := &containerTask{c: c, execs: make(map[string]*process), record: taskRecord{Mounted: len(r.Rootfs) > 0, HostPid: hostPid(spec)}}
	if err := d.planRuntime(t, record, r); err != nil {
		return nil, err
	}
	t.record.Releasable = t.record.Runtime.releasable(spec)
	if t.record.Planned, err = t.record.Runtime.planGroups(spec, c.id); err != nil {
		return nil, err
	}
	t.init = newProcess(t, "", processRecord{
		Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal, Asked: time.Now(),
	}, creating)
	if err := checkStreams(t.init.record); err != nil {
		return nil, err
	}
	_, s := span.Start(ctx, "plan")
	t.plan, err = d.makePlan(ctx, t, spec, record.Spec.GetValue())
	s.End(err)
	if err != nil {
		return nil, err
	}
	if t.record.Restore != nil && (t.record.IsSandbox || t.record.Sandbox != nil) {
		t.endPlan()
		return nil, fmt.Errorf("cannot restore container %q as a sandbox or into one: %w", c.id, errdefs.ErrNotImplemented)
	}
	return t, nil
}

// parseSpec reads the parts of an OCI spec that matter here. InvalidArgument for what is none.
func parseSpec(packed *anypb.Any) (*specs.Spec, error) {
	var spec specs.Spec
	if err := json.Unmarshal(packed.GetValue(), &spec); err != nil {
		return nil, fmt.Errorf("cannot read the container's spec: %v: %w", err, errdefs.ErrInvalidArgument)
	}
	if spec.Process == nil || len(spec.Process.Args) == 0 {
		return nil, fmt.Errorf("the container's spec has no process to run: %w", errdefs.ErrInvalidArgument)
	}
	if spec.Root == nil || spec.Root.Path == "" {
		return nil, fmt.Errorf("the container's spec has no root: %w", errdefs.ErrInvalidArgument)
	}
	return &spec, nil
}

// hostPid tells whether a container shares somebody's pid namespace.
func hostPid(spec *specs.Spec) bool {
	if spec.Linux == nil {
		return true
	}
	i := slices.IndexFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace })
	return i < 0 || spec.Linux.Namespaces[i].Path != ""
}

// makeTask does what a create does, step by step, and takes all of it back after an error, or when the request has ended: a task that nobody
// waits for is not wanted.
func (d *Daemon) makeTask(ctx, request context.Context, t *containerTask, r *tasks.CreateTaskRequest) (err error) {
	c, p := t.c, t.init
	defer t.endPlan()
	var back undo
	defer back.unless(&err)
	back.add(func() { d.discard(t, runtimeTimeout) })
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
		return t.enter()
	}
	if t.record.Restore != nil {
		err = d.readyToRestore(ctx, p, admit)
	} else {
		err = d.launch(ctx, p, func(a createArgs) error { return t.record.Runtime.create(ctx, c.id, t.bundle(), a) }, admit)
	}
	if err != nil {
		return err
	}
	d.created(p, r)
	return nil
}

// launch lets the OCI runtime make a process, whose exit is awaited from then on, unless admit, which may be nil, refuses it.
func (d *Daemon) launch(ctx context.Context, p *process, run func(createArgs) error, admit func() error) error {
	d.prepare()
	w := d.exits.open()
	defer d.closeWindow(w)
	if err := d.spawn(ctx, p, run); err != nil {
		return err
	}
	if err := d.recordStart(p); err != nil {
		return err
	}
	if admit != nil {
		if err := admit(); err != nil {
			return err
		}
	}
	d.expect(p, w)
	return nil
}

func (d *Daemon) created(p *process, r *tasks.CreateTaskRequest) {
	p.mu.Lock()
	p.status = created
	d.publish(p.task.c.ns, runtime.TaskCreateEventTopic, &events.TaskCreate{
		ContainerID: p.task.c.id, Bundle: p.task.bundle(), Rootfs: r.Rootfs, Pid: uint32(p.pid),
		IO: &events.TaskIO{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal},
	})
	p.mu.Unlock()
	d.settleEarly(p)
}

func (t *containerTask) bundle() string { return filepath.Join(t.c.dir, "bundle") }
func (t *containerTask) rootfs() string { return filepath.Join(t.bundle(), "rootfs") }
func (t *containerTask) file() string   { return filepath.Join(t.c.dir, taskFile) }

// prepareBundle writes down what is going to be done, and then the bundle.
func prepareBundle(t *containerTask) error {
	if err := writeJSON(t.file(), t.record); err != nil {
		return err
	}
	for _, dir := range []string{t.init.dir, t.rootfs(), t.record.Runtime.Root} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return err
		}
	}
	return errors.Join(
		writeJSON(t.init.file("process.json"), t.init.record),
		writeFile(filepath.Join(t.bundle(), "config.json"), t.plan.config),
	)
}

// spawn opens a process's streams and lets the OCI runtime make the process. Afterwards the process has its pid, its stdin is
// held, and its terminal runs. What it did to the keeper is undone by release, after an error too.
func (d *Daemon) spawn(ctx context.Context, p *process, run func(createArgs) error) (err error) {
	a := createArgs{dir: p.dir}
	paths := p.record.paths()
	files, err := fifo.OpenContainer(ctx, paths)
	if err != nil {
		return err
	}
	defer files.Close() // the process has its own by then
	a.stdio = stdio{files}
	if err := p.task.record.chown(files, paths); err != nil {
		return err
	}
	if p.record.Terminal { // the container's streams are the terminal; the FIFOs were only looked at, before anything is done
		null, err := fifo.OpenContainer(ctx, fifo.Paths{})
		if err != nil {
			return err
		}
		defer null.Close()
		a.stdio = stdio{null}
	} else if paths.Stdin != "" {
		if err := d.holdStdin(ctx, p, paths.Stdin); err != nil {
			return err
		}
		if exists(p.file(stdinClosedFile)) { // before there was one to close
			d.releaseStreams(p, keeper.Stdin)
		}
	}
	var socket *consoleSocket
	if p.record.Terminal {
		if socket, err = newConsoleSocket(d.tmp()); err != nil {
			return err
		}
		defer socket.close() // it is only a name by now
		a.console = runc.ConsoleSocket(socket)
	}
	began := now()
	if err := run(a); err != nil {
		return errors.Join(err, ctx.Err())
	}
	pid, err := readPid(p.file("pid"))
	if err != nil {
		return err
	}
	start, err := d.newborn(ctx, pid, began)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.pid, p.start = pid, start
	p.mu.Unlock()
	if socket == nil {
		return nil
	}
	return d.attachTerminal(ctx, p, socket)
}

// holdStdin lets the keeper hold a write end of stdin, so that the going of an engine is no end of file.
func (d *Daemon) holdStdin(ctx context.Context, p *process, path string) error {
	hold, err := fifo.OpenHold(path)
	if err != nil {
		return err
	}
	defer hold.Close() // the keeper has a duplicate
	k, err := d.keeper.get()
	if err != nil {
		return err
	}
	return k.Hold(ctx, p.key, keeper.Stdin, hold, nil, keeper.HoldOptions{})
}

// attachTerminal receives a terminal's master, lets the keeper hold it too, and starts to move its bytes.
func (d *Daemon) attachTerminal(ctx context.Context, p *process, socket *consoleSocket) error {
	master, err := socket.receive(ctx)
	if err != nil {
		return err
	}
	k, err := d.keeper.get()
	if err == nil {
		err = k.Hold(ctx, p.key, keeper.Terminal, master, nil, keeper.HoldOptions{Taken: true})
	}
	if err != nil {
		return errors.Join(err, master.Close())
	}
	return d.runTerminal(p, master, false)
}

// runTerminal starts to move a terminal's bytes. The master is the terminal's then, or closed after an error.
func (d *Daemon) runTerminal(p *process, master *os.File, stdinClosed bool) error {
	term, err := newTerminal(master, p.record, stdinClosed, func(stream string, err error) {
		d.log.WithError(err).WithField("process", p.String()).Errorf("the terminal's %s broke", stream)
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.term = term
	return nil
}

// recordStart writes down that a process exists; for an init process also its control groups.
func (d *Daemon) recordStart(p *process) error {
	p.mu.Lock()
	r := startRecord{Pid: p.pid, Start: p.start}
	p.mu.Unlock()
	if p.exec == "" {
		g, err := groupsOf(r.Pid)
		if err != nil && !errdefs.IsNotFound(err) { // not found: it was killed already
			return err
		}
		p.task.setGroups(g)
		r.Groups = &g
	}
	return writeJSON(p.file("start"), r)
}
