package libcontainerd

import (
	"context"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// InitProcess is the process id of a container's init process, the first one. Every other process id names an exec.
const InitProcess = "init"

// Exit is how a process ended.
type Exit struct {
	// Code is the exit status, 0 to 255; for a process that a signal ended, 128 plus the signal's number. Code is 0
	// and means nothing where Unknown is set.
	Code int `json:"code"`
	// Unknown is the reason why the status is not known. It is empty where Code is the status.
	Unknown string `json:"unknown,omitempty"`
	// Time is when the process exited, by the clock of the process that reaped it.
	Time time.Time `json:"time"`
	// OOMKilled says that the kernel killed a process of the container because memory ran out. It is set for the
	// init process only.
	OOMKilled bool `json:"oomKilled,omitempty"`
}

// Mount is one mount of a root filesystem, with the arguments of mount(2).
type Mount struct {
	Type    string   `json:"type"`
	Source  string   `json:"source"`
	Target  string   `json:"target,omitempty"`
	Options []string `json:"options,omitempty"`
}

// Record is what a runtime daemon stores of a container. A record has no process: processes belong to the task,
// which is made later.
type Record struct {
	ID     string
	Spec   *specs.Spec
	Labels map[string]string
	// Runtime is the runtime's type, such as "io.containerd.runc.v2". Empty is the daemon's default.
	Runtime string
	// RuntimeOptions are options for a runtime of that type; nil is none.
	RuntimeOptions *RuntimeOptions
	// RuntimeArgs are arguments that the OCI runtime gets before its command.
	RuntimeArgs []string
	// NoClean asks the daemon to keep the bundle and the process directories, which it removes otherwise. This is
	// for debugging.
	NoClean bool
}

// StdioPaths are the absolute paths of a process's FIFOs. An empty path stands for /dev/null. A process with a
// terminal has no Stderr.
type StdioPaths struct {
	Stdin, Stdout, Stderr string
}

// TaskConfig is what a daemon needs to create a container's task.
type TaskConfig struct {
	// Rootfs are the mounts that the daemon makes for the root filesystem. It is empty where the spec's root path
	// exists already.
	Rootfs   []Mount
	Stdio    StdioPaths
	Terminal bool
	// Runtime and RuntimeOptions are those of the container's Record.
	Runtime        string
	RuntimeOptions *RuntimeOptions
	// RuntimePath is the path of the OCI runtime's program. Empty lets the daemon choose.
	RuntimePath string
	// NoPivotRoot has the OCI runtime call chroot(2) and not pivot_root(2), for hosts whose root is a ramdisk.
	NoPivotRoot bool
	// SystemdCgroup has systemd make the control group.
	SystemdCgroup bool
	// IoUID and IoGID are the owner of the container's stdio.
	IoUID, IoGID uint32
	// Checkpoint is the directory to restore the task from. Empty makes a new task.
	Checkpoint string
	// Warn, if not nil, is called before CreateTask returns: once for each limit or privilege that the process gets
	// less of than its spec asks for.
	Warn func(text string)
}

// CheckpointConfig is what a daemon needs to checkpoint a task.
type CheckpointConfig struct {
	// Dir is the absolute path of an empty directory, where the daemon writes the checkpoint.
	Dir string
	// Exit ends the task after the checkpoint.
	Exit bool
	// See CheckpointOptions.
	OpenTCP, ExternalUnixSockets, Terminal, FileLocks bool
}

// ExecConfig is what a daemon needs to add a process to a task.
type ExecConfig struct {
	Process  *specs.Process
	Stdio    StdioPaths
	Terminal bool
	// Warn is called like TaskConfig.Warn, before AddExec returns.
	Warn func(text string)
}

// Process is one process of a container: the init process, an exec, or a child of one of those.
type Process struct {
	// Pid is the process's id in the daemon's pid namespace.
	Pid int
	// Args is the command line as the process shows it now. A process that has ended and is not reaped yet has
	// none.
	Args []string
}

// TaskStatus is the state of a process as the daemon reports it.
type TaskStatus int

// The states of a process at the daemon.
const (
	TaskUnknown TaskStatus = iota
	TaskCreated
	TaskRunning
	TaskPaused
	TaskStopped
)

// Task is the state of a process as the daemon reports it: of a container's init process, or, from Daemon.Process,
// of an exec.
type Task struct {
	ID     string
	Pid    int
	Status TaskStatus
	// Exit is set where Status is TaskStopped.
	Exit Exit
}

// DaemonEventType is the type of a runtime daemon's event.
type DaemonEventType int

// The events of a runtime daemon that the client uses.
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

// DaemonEvent is an event of the runtime daemon. The client takes an event as a hint: events may be late, repeated
// or missing, and an event may be about an earlier process with the same id.
type DaemonEvent struct {
	Type        DaemonEventType
	ContainerID string
	// ProcessID is empty or InitProcess for the init process.
	ProcessID string
	// Pid is 0 if the event has none.
	Pid int
	// Exit is set for DaemonExit and DaemonDeleted.
	Exit Exit
}

// Subscription is a live stream of a daemon's events.
type Subscription interface {
	// Next waits for the next event and returns it. Any error ends the subscription. Events may be lost then, so
	// the client subscribes again, lists the tasks and compares.
	Next(ctx context.Context) (DaemonEvent, error)
	// Close ends the subscription and frees what it holds.
	Close() error
}

// Daemon is the runtime daemon that a Client calls; package remote has one over containerd's gRPC API. Methods may
// be called from any goroutine. A process id is InitProcess or the id of an exec. A context bounds the call and
// nothing else: a process runs on when the context of its Start ends.
//
// Errors have the classes of github.com/containerd/errdefs: NotFound for an id that the daemon doesn't know,
// AlreadyExists, FailedPrecondition for a call that the state of the process doesn't allow, Unavailable where the
// daemon can't be reached.
//
// A later release may add methods. Embed UnimplementedDaemon in a Daemon of your own.
type Daemon interface {
	// Version returns the name and version of the daemon.
	Version(ctx context.Context) (name, version string, err error)

	// CreateContainer stores a record.
	CreateContainer(ctx context.Context, r Record) error
	// DeleteContainer deletes a record. The container must have no task.
	DeleteContainer(ctx context.Context, id string) error
	// Containers calls fn with the id of each container, one at a time. An error of fn ends the listing and is
	// returned.
	Containers(ctx context.Context, fn func(id string) error) error

	// CreateTask makes the init process; Start lets it run. With a checkpoint, the daemon may make the process as
	// late as Start: pid is 0 then.
	CreateTask(ctx context.Context, id string, c TaskConfig) (pid int, err error)
	// AddExec adds a process to a task; Start runs it.
	AddExec(ctx context.Context, id, execID string, c ExecConfig) error
	// Start runs a process that CreateTask or AddExec made.
	Start(ctx context.Context, id, process string) (pid int, err error)
	// Kill sends a signal to a process, with all to every process of the task. Kill doesn't wait for the exit.
	Kill(ctx context.Context, id, process string, sig syscall.Signal, all bool) error
	// Resize sets the size of a process's terminal, in characters.
	Resize(ctx context.Context, id, process string, width, height uint32) error
	// CloseIO closes the daemon's end of a process's stdin.
	CloseIO(ctx context.Context, id, process string) error
	// Pause freezes the processes of a task, Resume thaws them.
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
	// Pids lists the processes of a task.
	Pids(ctx context.Context, id string) ([]int, error)
	// Processes lists the processes of Pids with their command lines. It leaves out processes that end meanwhile,
	// and those of a kernel other than the host's.
	Processes(ctx context.Context, id string) ([]Process, error)
	// Stats reads the counters of a task's control group.
	Stats(ctx context.Context, id string) (*Stats, error)
	// Update changes the limits of a task.
	Update(ctx context.Context, id string, r *specs.LinuxResources) error
	// Checkpoint writes the state of a task to a directory. CreateTask can restore a task from there.
	Checkpoint(ctx context.Context, id string, c CheckpointConfig) error

	// Wait returns when the process has exited; at once if it has already.
	Wait(ctx context.Context, id, process string) (Exit, error)
	// Delete frees a process that has exited. For InitProcess it frees the task.
	Delete(ctx context.Context, id, process string) (Exit, error)
	// Process returns the state of one process.
	Process(ctx context.Context, id, process string) (Task, error)
	// Tasks lists all init processes. Exits in this list may lack OOMKilled and the reason of Unknown.
	Tasks(ctx context.Context) ([]Task, error)
	// Subscribe starts a stream of events. ctx bounds the whole subscription.
	Subscribe(ctx context.Context) (Subscription, error)
}

// Copier is a Daemon that says whether it copies the output of processes.
type Copier interface {
	// CopiesOutput is true for a daemon that reads the output of a process and copies it into the FIFOs, as
	// containerd's shims do. The output is then complete only when the process has been deleted. It is false for a
	// daemon that gives the FIFOs to the process, as runtimed does.
	CopiesOutput() bool
}

// Stats are the counters of a container's control group, see cgroups(7).
type Stats struct {
	// Time is when the counters were read.
	Time time.Time
	// CPUTotal, CPUUser and CPUKernel are nanoseconds of CPU time.
	CPUTotal, CPUUser, CPUKernel uint64
	// ThrottledPeriods counts the periods of the CPU quota, and Throttled those in which the container used its
	// quota up.
	ThrottledPeriods, Throttled uint64
	// ThrottledTime is the time that the container was throttled, in nanoseconds.
	ThrottledTime uint64
	// OnlineCPUs is the number of the host's CPUs. A cpuset of the container doesn't change it.
	OnlineCPUs uint32
	// MemoryUsage, MemoryMaxUsage, MemoryLimit and MemoryInactiveFile are bytes. Without a limit, MemoryLimit is
	// larger than any host's memory.
	MemoryUsage, MemoryMaxUsage, MemoryLimit uint64
	MemoryInactiveFile                       uint64
	// PidsCurrent counts the container's threads, see pids.current of the kernel's cgroup-v2.rst. Without a limit,
	// PidsLimit is 0 with control groups of version 1, and 2^64-1 with version 2.
	PidsCurrent, PidsLimit uint64
	// OOMKills counts the processes that the kernel killed because memory ran out.
	OOMKills uint64
	// BlockRead and BlockWrite are the bytes read from and written to block devices.
	BlockRead, BlockWrite uint64
}
