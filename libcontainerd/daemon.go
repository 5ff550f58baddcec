package libcontainerd

import (
	"context"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// InitProcess is the process id of a container's first process. Every other
// process id names an exec.
const InitProcess = "init"

// Exit is how a process ended.
type Exit struct {
	// Code is the exit status, 0 to 255; 128 plus the signal's number for a
	// process that a signal ended. It means nothing where Unknown is set.
	Code int
	// Unknown is the reason why nobody can know the status; empty where Code
	// is the truth.
	Unknown string
	// Time is when the process ended, as the one who reaped it saw it.
	Time time.Time
	// OOMKilled tells that the kernel killed a process of the container for
	// want of memory. It is known for the init process only.
	OOMKilled bool
}

// Mount is one mount of a root filesystem, in the terms of mount(2).
type Mount struct {
	Type, Source, Target string
	Options              []string
}

// Record is what a runtime daemon stores of a container: no process belongs to
// it until a task is created.
type Record struct {
	ID     string
	Spec   *specs.Spec
	Labels map[string]string
	// Runtime is the runtime's type, such as "io.containerd.runc.v2"; empty
	// for the daemon's default.
	Runtime string
	// RuntimeOptions are for a runtime of that type; nil for none.
	RuntimeOptions any
	// RuntimeArgs are global arguments of the OCI runtime.
	RuntimeArgs []string
	// NoClean asks the daemon to keep what it otherwise removes, for debugging.
	NoClean bool
}

// StdioPaths are the FIFOs of a process, as absolute paths. An empty path is
// /dev/null. A terminal has no Stderr.
type StdioPaths struct {
	Stdin, Stdout, Stderr string
}

// TaskConfig is what a daemon needs to create a container's task.
type TaskConfig struct {
	// Rootfs is mounted by the daemon; empty where the spec names a root path
	// that is there already.
	Rootfs   []Mount
	Stdio    StdioPaths
	Terminal bool
	// Runtime and RuntimeOptions are those of the container's Record.
	Runtime        string
	RuntimeOptions any
	// RuntimePath is the OCI runtime's binary; empty for the daemon's choice.
	RuntimePath string
	// NoPivotRoot is for hosts whose root is a ramdisk.
	NoPivotRoot bool
	// SystemdCgroup asks for a control group that systemd makes.
	SystemdCgroup bool
	// IoUID and IoGID own the stdio of the container.
	IoUID, IoGID uint32
	// Checkpoint is a directory to restore the task from; empty for a fresh one.
	Checkpoint string
	// Warn, if not nil, is called before CreateTask returns, for each thing that
	// the process gets less of than its spec asks for.
	Warn func(text string)
}

// CheckpointConfig is what a daemon needs to write a task's state down.
type CheckpointConfig struct {
	// Dir is an empty directory, by its absolute path, which the daemon fills.
	Dir string
	// Exit ends the task.
	Exit bool
	// See CheckpointOptions.
	OpenTCP, ExternalUnixSockets, Terminal, FileLocks bool
}

// ExecConfig is what a daemon needs to add a process to a task.
type ExecConfig struct {
	Process  *specs.Process
	Stdio    StdioPaths
	Terminal bool
	// Warn is that of a TaskConfig, for AddExec.
	Warn func(text string)
}

// Process is one process of a container, an exec or a child of any.
type Process struct {
	// Pid is the host's number.
	Pid int
	// Args are the command line as the process shows it now; none for one that
	// has ended and is not reaped yet.
	Args []string
}

// TaskStatus is the state of a process as the daemon tells it.
type TaskStatus int

// The states of a process at the daemon.
const (
	TaskUnknown TaskStatus = iota
	TaskCreated
	TaskRunning
	TaskPaused
	TaskStopped
)

// Task is a container's init process as the daemon lists it.
type Task struct {
	ID     string
	Pid    int
	Status TaskStatus
	// Exit is set where Status is TaskStopped.
	Exit Exit
}

// DaemonEventType says what a runtime daemon tells of.
type DaemonEventType int

// The events of a runtime daemon that the client layer looks at.
const (
	DaemonExit DaemonEventType = iota + 1
	DaemonOOM
	DaemonPaused
	DaemonResumed
	DaemonStarted
	DaemonExecAdded
	DaemonExecStarted
	DaemonDeleted
)

// DaemonEvent is a hint from the runtime daemon. It may be late, be repeated,
// be missing or tell of an earlier process with the same id.
type DaemonEvent struct {
	Type        DaemonEventType
	ContainerID string
	ProcessID   string
	Pid         int
	Exit        Exit
}

// Subscription is a live stream of a daemon's events.
type Subscription interface {
	// Next returns the next event. Any error ends the subscription: what
	// happened since is unknown, and the subscriber lists and compares after
	// it has subscribed again.
	Next(ctx context.Context) (DaemonEvent, error)
	Close() error
}

// Daemon is what the client layer needs of a runtime daemon. Its errors carry
// the classes of github.com/containerd/errdefs: NotFound for an id that the
// daemon doesn't know, AlreadyExists, FailedPrecondition for the wrong state,
// Unavailable where the daemon can't be reached. A context bounds the call and
// nothing else. Process ids are InitProcess or an exec's id.
type Daemon interface {
	Version(ctx context.Context) (name, version string, err error)

	CreateContainer(ctx context.Context, r Record) error
	DeleteContainer(ctx context.Context, id string) error
	// Containers hands over the ids of all containers, one at a time.
	Containers(ctx context.Context, fn func(id string) error) error

	// CreateTask makes the init process, which Start runs. From a checkpoint it
	// may leave that to Start too: pid is 0 then.
	CreateTask(ctx context.Context, id string, c TaskConfig) (pid int, err error)
	// AddExec registers a process; Start runs it.
	AddExec(ctx context.Context, id, execID string, c ExecConfig) error
	Start(ctx context.Context, id, process string) (pid int, err error)
	Kill(ctx context.Context, id, process string, sig syscall.Signal, all bool) error
	Resize(ctx context.Context, id, process string, width, height uint32) error
	CloseIO(ctx context.Context, id, process string) error
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
	Pids(ctx context.Context, id string) ([]int, error)
	// Processes are those of Pids with their command lines; those that end
	// meanwhile, or that run on a kernel of their own, are left out.
	Processes(ctx context.Context, id string) ([]Process, error)
	Stats(ctx context.Context, id string) (*Stats, error)
	Update(ctx context.Context, id string, r *specs.LinuxResources) error
	// Checkpoint writes down a task's state, which CreateTask can restore.
	Checkpoint(ctx context.Context, id string, c CheckpointConfig) error

	// Wait returns when the process has ended; at once where it has already.
	Wait(ctx context.Context, id, process string) (Exit, error)
	// Delete frees an ended process, with process InitProcess the whole task.
	Delete(ctx context.Context, id, process string) (Exit, error)
	// Process tells the state of one process.
	Process(ctx context.Context, id, process string) (Task, error)
	// Tasks lists all init processes. The exits in the list may lack OOMKilled
	// and the reason why a status is unknown.
	Tasks(ctx context.Context) ([]Task, error)
	Subscribe(ctx context.Context) (Subscription, error)
}

// Copier is a Daemon that knows whether it copies the output of processes into
// the FIFOs, as containerd's shims do, rather than giving them the FIFOs
// themselves: the output is complete then only when the process was deleted.
type Copier interface {
	CopiesOutput() bool
}

// Stats are the counters of a container's control group.
type Stats struct {
	Time time.Time
	// CPU times are nanoseconds.
	CPUTotal, CPUUser, CPUKernel uint64
	ThrottledPeriods, Throttled  uint64
	ThrottledTime                uint64
	OnlineCPUs                   uint32
	// Memory is in bytes.
	MemoryUsage, MemoryMaxUsage, MemoryLimit uint64
	MemoryInactiveFile                       uint64
	PidsCurrent, PidsLimit                   uint64
	// OOMKills counts the processes that the kernel killed for want of memory.
	OOMKills uint64
	// BlockRead and BlockWrite are bytes.
	BlockRead, BlockWrite uint64
}
