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

// Daemon is a runtime daemon in memory, for tests. [Daemon.Fail] and the methods beside it inject faults. The
// caller must Close it.
//
// The arguments of a process are sh, -c and a script. A script has these commands, separated by semicolons or line
// ends:
//
//	exit N              exits with status N
//	sleep SECONDS       waits
//	sleep SECONDS &     does nothing
//	wait                waits for a signal
//	echo WORDS          writes to stdout
//	cat                 copies stdin to stdout until stdin is closed
//	kill -SIGNAL $$     exits with 128 plus the signal's number
//	trap "exit N" TERM  has SIGTERM exit with status N
//	trap "" TERM        ignores SIGTERM
//
// Any other program is not found, like a missing program in a real container.
//
// A signal other than 0 ends a process that has no trap for it. A paused process ends only when it is resumed, as
// with the freezer of control groups version 1.
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

// noProcess is a pid above all that the kernel gives (PID_MAX_LIMIT, proc_sys_kernel(5)): whoever looks for a process of
// this daemon on the machine finds none.
const noProcess = 1 << 22

// task is a container's init process with its execs.
type task struct {
	daemon *Daemon
	init   *proc
	procs  map[string]*proc // init too

	// Guarded by the daemon's mu.
	dying    bool // the init process has exited, and its execs are being killed
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
	broken  error // the error of the script, which Start returns
	streams pipes
	done    chan struct{}

	stepping sync.Mutex // held while a command writes output and at is advanced
	at       int        // the next command; guarded by stepping

	// Guarded by the daemon's mu.
	pid     int
	status  libcontainerd.TaskStatus
	exit    libcontainerd.Exit
	sig     func(error)
	oom     bool
	started bool
	traps   map[syscall.Signal]int // exit codes by signal, or the constant ignored
	pending syscall.Signal         // a signal that was sent while the task was paused
}

// NewDaemon returns a daemon whose processes use the streams of s.
func NewDaemon(s *Stdio) *Daemon {
	return &Daemon{
		stdio: s, pids: noProcess,
		containers: map[string]libcontainerd.Record{}, tasks: map[string]*task{},
		subs: map[*subscription]bool{}, calls: map[string]int{}, faults: map[point]Fault{},
		released: make(chan struct{}), lost: make(chan struct{}),
	}
}

// Close kills all processes and waits for their goroutines.
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

// Version returns "fake" and "1".
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

// DeleteContainer deletes a record. A record with a task is FailedPrecondition.
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

// DropRecord deletes a record and leaves its task, as containerd does whose create ends after the removal.
func (d *Daemon) DropRecord(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.containers, id)
}

// Containers calls fn with the id of each record, in order.
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

// CreateTask makes the init process, which waits for Start. From a checkpoint, Start gives the process its pid, as
// with containerd.
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
	if c.Checkpoint == "" { // else Start gives the pid
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

// AddExec adds a process to a running task. If its program doesn't exist, only Start says so, as with a real
// runtime.
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
	p.script, p.broken = parse(p.args)
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

// finish records a process's exit. Before that, if it is the init process, finish kills the task's execs and waits
// for them.
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
	d.emitLocked(libcontainerd.DaemonEvent{Type: libcontainerd.DaemonExit, ContainerID: id, ProcessID: p.id, Pid: p.pid,
		Exit: e})
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

// signalLocked is killLocked. If the task is paused, the signal takes effect when it is resumed.
func (p *proc) signalLocked(sig syscall.Signal) {
	if p.task.paused {
		p.pending = sig
		return
	}
	p.killLocked(sig)
}

// killLocked ends a process that runs, unless it ignores the signal.
func (p *proc) killLocked(sig syscall.Signal) {
	if code, trapped := p.traps[sig]; trapped && code == ignored {
		return
	}
	if p.sig != nil {
		p.sig(signalled{sig})
	}
}
