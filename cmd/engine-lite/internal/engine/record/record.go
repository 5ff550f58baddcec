package record

import (
	"strconv"
	"syscall"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// Unknown are the fields of a record's JSON, or of a part of it, that this release does not know.
type Unknown = store.Unknown

// Status is the state of a container. The zero value is invalid.
type Status string

const (
	StatusCreated Status = "created"
	StatusRunning Status = "running"
	StatusPaused  Status = "paused"
	StatusExited  Status = "exited"
	// StatusRestarting has ended, and will be started at RestartAt.
	StatusRestarting Status = "restarting"
	StatusRemoving   Status = "removing"
	// StatusDead is that of a container whose record cannot be read, where nobody knows its state. It is never stored
	// in a record.
	StatusDead Status = "dead"
)

// Record is the truth about one container, as the journal has it. A published record is never changed: a change makes
// another one.
type Record struct {
	// Schema is the version of the stored form.
	Schema  uint `json:",omitzero"`
	ID      string
	Name    string
	Created time.Time
	// Version grows by one with each change, so that an older record never
	// replaces a newer one in memory.
	Version uint64

	Config     *Config
	HostConfig *HostConfig
	// Path and Args are what runs: entrypoint and command, resolved.
	Path string
	Args []string
	// Image is the image's id, ImageName what the user asked for.
	Image     string
	ImageName string
	// ImageManifest is nil in the records of the releases before it was kept.
	ImageManifest *ImageManifest `json:",omitempty"`

	// Mounts are what is mounted into the container beside its root filesystem: what was asked for, with the image's
	// volumes and those of other containers, in the order in which they are mounted.
	Mounts []Mount `json:",omitempty"`
	// RemoveVolumes says that the container's anonymous volumes go with it. It is part of the intent to remove the
	// container.
	RemoveVolumes bool `json:",omitempty"`

	Status Status
	Pid    int
	// Generation counts the starts.
	Generation uint64
	// Exits counts the exits; it equals Generation while nothing runs.
	Exits uint64
	// DieSeq is the number of the event of the last exit; 0 where there was none,
	// or its start failed.
	DieSeq   uint64 `json:",omitempty"`
	ExitCode int
	// ExitUnknown is the reason why nobody knows the exit code; empty where it is known.
	ExitUnknown string
	OOMKilled   bool
	// Error is why the last start failed.
	Error      string
	StartedAt  time.Time
	FinishedAt time.Time
	// StdinClosed is the wish to close stdin in this generation.
	StdinClosed bool
	// StdinTaken says that a client has stdin, which is closed when that client
	// goes; an engine that dies takes its clients along.
	StdinTaken bool

	// RestartAt is when the container is to be started again, by its policy or
	// by a user's restart that is under way; zero where it isn't.
	RestartAt time.Time
	// RestartDelay is the last delay of the policy, RestartCount how often it
	// has restarted the container since a user started it.
	RestartDelay time.Duration
	RestartCount int
	// Stopped says that a user ended this run: the policy leaves it alone.
	Stopped bool
	// Health is nil where the container has no health check or never ran.
	Health *Health `json:",omitempty"`
	// Stop is the stop that is under way; nil where there is none.
	Stop *Stop `json:",omitempty"`
	// CommitPause is the generation of the run that a commit freezes, or is about to; 0 for none. See FrozenByCommit.
	CommitPause uint64 `json:",omitempty"`
	// Ended is an exit whose event has to wait for the last output; nil where there is none. See EndedRun.
	Ended *Ended `json:",omitempty"`

	Unknown Unknown `json:",embed"`

	unreadable error
}

// Running tells whether the container has a process.
func (r *Record) Running() bool { return r.Status == StatusRunning || r.Status == StatusPaused }

// Up tells whether a container runs as users see it. It also does between two runs if its policy restarts it.
func (r *Record) Up() bool { return r.Running() || r.Status == StatusRestarting }

// ShownExitCode is Docker's number for the exit: 255 where nobody knows it.
func (r *Record) ShownExitCode() int {
	if r.ExitUnknown != "" {
		return 255
	}
	return r.ExitCode
}

// SetExited makes the record that of a container whose run has ended. unknown is the reason where nobody knows the
// code.
func (r *Record) SetExited(code int, unknown string, oom bool, at time.Time) {
	r.Status, r.Pid = StatusExited, 0
	r.Exits = r.Generation
	r.ExitCode, r.ExitUnknown, r.OOMKilled = code, unknown, oom
	r.FinishedAt = at.UTC()
	r.StdinClosed, r.StdinTaken, r.Ended, r.CommitPause = false, false, nil, 0
	r.EndHealth()
}

// SetStarted makes the record that of a container whose run has begun.
func (r *Record) SetStarted(pid int, generation uint64, at time.Time) {
	r.Status, r.Pid, r.Generation = StatusRunning, pid, generation
	r.StartedAt, r.Error = at.UTC(), ""
	r.ExitCode, r.ExitUnknown, r.OOMKilled = 0, "", false
	r.FinishedAt, r.RestartAt, r.Ended = time.Time{}, time.Time{}, nil
	r.StartHealth()
}

// FrozenByCommit tells whether a commit has frozen the run under way, or may do so yet, and no user. The commit, or the next
// engine, thaws the container.
func (r *Record) FrozenByCommit() bool {
	return r.Running() && r.CommitPause != 0 && r.CommitPause == r.Generation
}

// DieAttributes are what Docker's die event says beside the labels.
func (r *Record) DieAttributes() map[string]string {
	a := map[string]string{"exitCode": strconv.Itoa(r.ShownExitCode())}
	if !r.StartedAt.IsZero() {
		a["execDuration"] = strconv.Itoa(int(r.FinishedAt.Sub(r.StartedAt).Seconds()))
	}
	if r.ExitUnknown != "" {
		a["exitUnknown"] = r.ExitUnknown
	}
	return a
}

// Stop is a stop that is under way. It is in the journal before the signal
// goes out, so that the next engine goes on with it.
type Stop struct {
	Signal syscall.Signal
	// Deadline is when SIGKILL follows; zero is never.
	Deadline time.Time
	// Sent says that the signal went out.
	Sent bool

	Unknown Unknown `json:",embed"`
}

// Ended is the exit of a run, as the engine got it. It is in the journal before the runtime daemon forgets the exit.
type Ended struct {
	// Generation is that of the run. A release that does not know this field leaves it in the record of later runs.
	Generation uint64
	Code       int
	// Reason is why nobody knows the code; empty where it is known.
	Reason    string
	OOMKilled bool
	Time      time.Time
	// Recovered says that the exit was found out afterwards.
	Recovered bool

	Unknown Unknown `json:",embed"`
}

// EndedRun returns the exit of the run under way, if that is known already and has no event yet; else nil. The run
// counts as under way until then.
func (r *Record) EndedRun() *Ended {
	if !r.Running() || r.Ended == nil || r.Ended.Generation != r.Generation {
		return nil
	}
	return r.Ended
}
