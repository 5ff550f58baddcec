package libcontainerdtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Daemon is a runtime daemon in memory. Its processes are sh -c SCRIPT where
// SCRIPT has only: exit N, sleep SECONDS, echo WORDS, cat, kill -SIGNAL $$,
// trap "exit N" TERM, trap "" TERM, sleep SECONDS &, wait; joined by ; or line
// ends. Any other binary isn't found. A signal other than 0 ends a process that
// has no trap for it; a paused one only once it is resumed, as with version 1 of
// control groups. Close it.
type Daemon struct {
	stdio   *Stdio
	running sync.WaitGroup

	mu         sync.Mutex
	containers map[string]libcontainerd.Record
	tasks      map[string]*task
	pids       int
	subs       map[*subscription]bool
	filter     func(libcontainerd.DaemonEvent) []libcontainerd.DaemonEvent
	calls      map[string]int
	faults     map[point]Fault
	released   chan struct{}
	lost       chan struct{}
	down       bool
}

// task is a container's init process with its execs.
type task struct {
	daemon *Daemon
	init   *proc
	procs  map[string]*proc // init too

	// Guarded by the daemon's mu.
	dying    bool // its init process has ended, and takes the execs along
	paused   bool
	thaw     chan struct{} // closed while not paused
	oomKills uint64
}

// proc is one process.
type proc struct {
	task    *task
	id      string
	args    []string
	script  []command
	broken  error // why there is no script
	streams pipes
	done    chan struct{}

	stepping sync.Mutex // held over a command that shows, and what follows it
	at       int        // the command that comes next; guarded by stepping

	// Guarded by the daemon's mu.
	pid     int
	status  libcontainerd.TaskStatus
	exit    libcontainerd.Exit
	sig     func(error)
	oom     bool
	started bool
	traps   map[syscall.Signal]int // exit codes; ignored for one that does nothing
	pending syscall.Signal         // came while paused
}

// NewDaemon returns a daemon whose processes have the streams of s.
func NewDaemon(s *Stdio) *Daemon {
	return &Daemon{
		stdio: s, pids: 1000,
		containers: map[string]libcontainerd.Record{}, tasks: map[string]*task{},
		subs: map[*subscription]bool{}, calls: map[string]int{}, faults: map[point]Fault{},
		released: make(chan struct{}), lost: make(chan struct{}),
	}
}

// Close ends all processes and joins them.
func (d *Daemon) Close() {
	d.mu.Lock()
	for _, t := range d.tasks {
		for _, p := range t.procs {
			p.killLocked(syscall.SIGKILL)
		}
	}
	d.mu.Unlock()
	d.running.Wait()
}

// Version names the fake.
func (d *Daemon) Version(ctx context.Context) (name, version string, err error) {
	_, err = d.enter(ctx, "Version")
	return "fake", "1", err
}

// CreateContainer stores a record.
func (d *Daemon) CreateContainer(ctx context.Context, r libcontainerd.Record) error {
	late, err := d.enter(ctx, "CreateContainer")
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.containers[r.ID]; ok {
		return fmt.Errorf("container %q: %w", r.ID, errdefs.ErrAlreadyExists)
	}
	d.containers[r.ID] = r
	return late
}

// DeleteContainer deletes a record without a task.
func (d *Daemon) DeleteContainer(ctx context.Context, id string) error {
	late, err := d.enter(ctx, "DeleteContainer")
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.containers[id]; !ok {
		return fmt.Errorf("container %q: %w", id, errdefs.ErrNotFound)
	}
	if d.tasks[id] != nil {
		return fmt.Errorf("container %q has a task: %w", id, errdefs.ErrFailedPrecondition)
	}
	delete(d.containers, id)
	return late
}

// Containers lists the records' ids.
func (d *Daemon) Containers(ctx context.Context, fn func(id string) error) error {
	if _, err := d.enter(ctx, "Containers"); err != nil {
		return err
	}
	d.mu.Lock()
	var ids []string
	for id := range d.containers {
		ids = append(ids, id)
	}
	d.mu.Unlock()
	slices.Sort(ids)
	for _, id := range ids {
		if err := fn(id); err != nil {
			return err
		}
	}
	return nil
}

// CreateTask makes the init process, which waits for Start.
func (d *Daemon) CreateTask(ctx context.Context, id string, c libcontainerd.TaskConfig) (int, error) {
	late, err := d.enter(ctx, "CreateTask")
	if err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r, ok := d.containers[id]
	if !ok {
		return 0, fmt.Errorf("container %q: %w", id, errdefs.ErrNotFound)
	}
	if d.tasks[id] != nil {
		return 0, fmt.Errorf("task %q: %w", id, errdefs.ErrAlreadyExists)
	}
	script, err := parse(r.Spec.Process.Args)
	if err != nil {
		return 0, err
	}
	t := &task{daemon: d, procs: map[string]*proc{}, thaw: make(chan struct{})}
	close(t.thaw)
	t.init = t.add(libcontainerd.InitProcess, script, c.Stdio)
	t.init.args = r.Spec.Process.Args
	if t.init.at, err = restored(c.Checkpoint, script); err != nil {
		return 0, err
	}
	if c.Checkpoint == "" { // else Start does, as with containerd
		d.pids++
		t.init.pid = d.pids
	}
	d.tasks[id] = t
	return t.init.pid, late
}

func (t *task) add(id string, script []command, paths libcontainerd.StdioPaths) *proc {
	p := &proc{task: t, id: id, script: script, streams: t.daemon.stdio.open(paths),
		done: make(chan struct{}), status: libcontainerd.TaskCreated}
	t.procs[id] = p
	return p
}

// AddExec registers a process.
func (d *Daemon) AddExec(ctx context.Context, id, execID string, c libcontainerd.ExecConfig) error {
	late, err := d.enter(ctx, "AddExec")
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tasks[id]
	if t == nil {
		return fmt.Errorf("task %q: %w", id, errdefs.ErrNotFound)
	}
	if t.procs[execID] != nil {
		return fmt.Errorf("exec %q: %w", execID, errdefs.ErrAlreadyExists)
	}
	if t.init.status != libcontainerd.TaskRunning {
		return fmt.Errorf("task %q is not running: %w", id, errdefs.ErrFailedPrecondition)
	}
	p := t.add(execID, nil, c.Stdio)
	p.args = c.Process.Args
	p.script, p.broken = parse(p.args) // found missing by Start, as by a runtime
	d.emitLocked(libcontainerd.DaemonEvent{Type: libcontainerd.DaemonExecAdded, ContainerID: id, ProcessID: execID})
	p.sig = func(error) {}
	return late
}

// Start runs a process.
func (d *Daemon) Start(ctx context.Context, id, process string) (int, error) {
	late, err := d.enter(ctx, "Start")
	if err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.findLocked(id, process)
	if err != nil {
		return 0, err
	}
	if p.status != libcontainerd.TaskCreated {
		return 0, fmt.Errorf("process %q was started: %w", process, errdefs.ErrFailedPrecondition)
	}
	if p.broken != nil {
		return 0, p.broken
	}
	if p.task.dying {
		return 0, fmt.Errorf("task %q is ending: %w", id, errdefs.ErrFailedPrecondition)
	}
	if p.pid == 0 {
		d.pids++
		p.pid = d.pids
	}
	p.status, p.started = libcontainerd.TaskRunning, true
	event := libcontainerd.DaemonStarted
	if process != libcontainerd.InitProcess {
		event = libcontainerd.DaemonExecStarted
	}
	d.emitLocked(libcontainerd.DaemonEvent{Type: event, ContainerID: id, ProcessID: process, Pid: p.pid})
	live, sig := context.WithCancelCause(context.Background())
	p.sig = sig
	d.running.Go(func() { p.finish(id, p.run(live, p.script)) })
	return p.pid, late
}

// finish records a process's exit; an init process takes its execs with it.
func (p *proc) finish(id string, code int) {
	d := p.task.daemon
	d.mu.Lock()
	p.sig(nil)
	var execs []*proc
	if p.id == libcontainerd.InitProcess {
		p.task.dying = true
		for _, e := range p.task.procs {
			if e != p && e.started {
				e.killLocked(syscall.SIGKILL)
				execs = append(execs, e)
			}
		}
	}
	d.mu.Unlock()
	for _, e := range execs {
		<-e.done
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p.endLocked(id, libcontainerd.Exit{Code: code, Time: time.Now(), OOMKilled: p.oom})
}

func (p *proc) endLocked(id string, e libcontainerd.Exit) {
	d := p.task.daemon
	p.status, p.exit = libcontainerd.TaskStopped, e
	close(p.done)
	if e.OOMKilled {
		d.emitLocked(libcontainerd.DaemonEvent{Type: libcontainerd.DaemonOOM, ContainerID: id})
	}
	d.emitLocked(libcontainerd.DaemonEvent{Type: libcontainerd.DaemonExit, ContainerID: id, ProcessID: p.id, Pid: p.pid, Exit: e})
}

func (d *Daemon) findLocked(id, process string) (*proc, error) {
	t := d.tasks[id]
	if t == nil {
		return nil, fmt.Errorf("task %q: %w", id, errdefs.ErrNotFound)
	}
	p := t.procs[process]
	if p == nil {
		return nil, fmt.Errorf("process %q: %w", process, errdefs.ErrNotFound)
	}
	return p, nil
}

// signalLocked is killLocked, once the task isn't paused.
func (p *proc) signalLocked(sig syscall.Signal) {
	if p.task.paused {
		p.pending = sig
		return
	}
	p.killLocked(sig)
}

// killLocked ends a process that runs.
func (p *proc) killLocked(sig syscall.Signal) {
	if code, trapped := p.traps[sig]; trapped && code == ignored {
		return
	}
	if p.sig != nil {
		p.sig(signalled{sig})
	}
}
