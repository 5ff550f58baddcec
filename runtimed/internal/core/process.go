package core

import (
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/api/types/task"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/engine-lite/engine-lite/fifo"
	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/runtimed/internal/cgroup"
	"github.com/engine-lite/engine-lite/runtimed/internal/terminal"
)

// processRecord is the file "process.json": what was asked for.
type processRecord struct {
	Stdin    string    `json:"stdin,omitempty"`
	Stdout   string    `json:"stdout,omitempty"`
	Stderr   string    `json:"stderr,omitempty"`
	Terminal bool      `json:"terminal,omitempty"`
	Asked    time.Time `json:"asked"`
	// Spec is the process of an exec; the init process has its own in the bundle.
	Spec *specs.Process `json:"spec,omitempty"`
}

func (r processRecord) paths() fifo.Paths {
	if r.Terminal {
		return fifo.Paths{Stdin: r.Stdin, Stdout: r.Stdout} // a terminal has one output
	}
	return fifo.Paths{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr}
}

// startRecord is the file "start": the process exists.
type startRecord struct {
	Pid int `json:"pid"`
	// Start is the start time in clock ticks after boot; 0 if the process was gone before it could be read.
	Start uint64 `json:"start"`
	// Groups are the control groups of an init process.
	Groups *cgroup.Groups `json:"groups,omitempty"`
}

// Process is an init process or an exec.
type Process struct {
	task   *containerTask
	exec   string // the exec's id; empty for the init process
	dir    string
	key    string // its streams' name at the keeper
	record processRecord
	// done is closed when the exit is on disk and its event is published, or when an exec that never ran was deleted.
	done chan struct{}
	// startHeld tells that the keeper holds the FIFO of a start. Whoever changes the container has the field.
	startHeld bool

	mu     sync.Mutex
	status status
	pid    int
	start  uint64
	early  *keeper.Exit       // an exit that came while the process was being made or started
	exit   ExitRecord         // set once status is stopped
	term   *terminal.Terminal // nil without a terminal, and after the exit
}

func newProcess(t *containerTask, exec string, record processRecord, s status) *Process {
	dir, key := filepath.Join(t.c.dir, "init"), t.c.ns+"/"+t.c.id+"/init"
	if exec != "" {
		dir, key = filepath.Join(t.c.dir, "execs", exec), t.c.ns+"/"+t.c.id+"/execs/"+exec
	}
	return &Process{task: t, exec: exec, dir: dir, key: key, record: record, status: s, done: make(chan struct{})}
}

func (p *Process) String() string {
	if p.exec == "" {
		return fmt.Sprintf("container %q", p.task.c.id)
	}
	return fmt.Sprintf("process %q of container %q", p.exec, p.task.c.id)
}

// ID is the process's id in events: the exec's, or the container's.
func (p *Process) ID() string {
	if p.exec == "" {
		return p.task.c.id
	}
	return p.exec
}

func (p *Process) file(name string) string { return filepath.Join(p.dir, name) }

// hasEnded tells whether the exit is known and published.
func (p *Process) hasEnded() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// identity returns the process's pid and start time; ok is false unless it exists and has not ended.
func (p *Process) identity() (pid int, start uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid, p.start, p.pid != 0 && p.status != stopped
}

func (p *Process) Exit() ExitRecord {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}

func (p *Process) terminal() *terminal.Terminal {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.term
}

// Proto is the process as containerd's API shows it.
func (p *Process) Proto() *task.Process {
	paused := p.task.isPaused()
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &task.Process{
		ContainerID: p.task.c.id, ID: p.ID(), Pid: uint32(p.pid), Status: p.status.proto(),
		Stdin: p.record.Stdin, Stdout: p.record.Stdout, Stderr: p.record.Stderr, Terminal: p.record.Terminal,
	}
	switch {
	case p.status == stopped:
		w.ExitStatus, w.ExitedAt = p.exit.Status(), timestamppb.New(p.exit.Time)
	case p.status == running && paused:
		w.Status = task.Status_PAUSED
	}
	return w
}

// Warnings tell what the process's container asked for and got less of.
func (p *Process) Warnings() []string { return p.task.record.Warnings }

// Done is closed when the exit is on disk and its event is published, or when an exec that never ran was deleted.
func (p *Process) Done() <-chan struct{} { return p.done }
