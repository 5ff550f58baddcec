package engine

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/journal"
)

// The kinds of record that the engine keeps in the journal.
const (
	kindContainer = "container" // id -> record
	kindName      = "name"      // name -> id
	kindExec      = "exec"      // id -> execRecord
)

// status is where a container stands. The zero value is invalid.
type status string

const (
	statusCreated status = "created"
	statusRunning status = "running"
	statusPaused  status = "paused"
	statusExited  status = "exited"
	// statusRestarting has ended, and will be started at RestartAt.
	statusRestarting status = "restarting"
	statusRemoving   status = "removing"
)

// record is the truth about one container, as the journal has it. A record is
// immutable once it was published: change makes another.
type record struct {
	ID      string
	Name    string
	Created time.Time
	// Version grows by one with each change, so that an older record never
	// replaces a newer one in memory.
	Version uint64

	Config     *container.Config
	HostConfig *container.HostConfig
	// Path and Args are what runs: entrypoint and command, resolved.
	Path string
	Args []string
	// Image is the image's id, ImageName what the user asked for.
	Image     string
	ImageName string

	Status status
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
	Health *health `json:",omitempty"`
	// Stop is the stop that is under way; nil where there is none.
	Stop *stopIntent `json:",omitempty"`
}

// running tells whether the container has a process.
func (r *record) running() bool { return r.Status == statusRunning || r.Status == statusPaused }

// up tells whether the container runs as users see it: also between two runs,
// where its policy restarts it.
func (r *record) up() bool { return r.running() || r.Status == statusRestarting }

// shownExitCode is Docker's number for the exit: 255 where nobody knows it.
func (r *record) shownExitCode() int {
	if r.ExitUnknown != "" {
		return 255
	}
	return r.ExitCode
}

func (r *record) exited(code int, unknown string, oom bool, at time.Time) {
	r.Status, r.Pid = statusExited, 0
	r.Exits = r.Generation
	r.ExitCode, r.ExitUnknown, r.OOMKilled = code, unknown, oom
	r.FinishedAt = at.UTC()
	r.StdinClosed, r.StdinTaken = false, false
	r.endHealth()
}

func (r *record) started(pid int, generation uint64, at time.Time) {
	r.Status, r.Pid, r.Generation = statusRunning, pid, generation
	r.StartedAt, r.Error = at.UTC(), ""
	r.ExitCode, r.ExitUnknown, r.OOMKilled = 0, "", false
	r.FinishedAt, r.RestartAt = time.Time{}, time.Time{}
	r.startHealth()
}

// dieAttributes are what Docker's die event says beside the labels.
func (r *record) dieAttributes() map[string]string {
	a := map[string]string{"exitCode": strconv.Itoa(r.shownExitCode())}
	if !r.StartedAt.IsZero() {
		a["execDuration"] = strconv.Itoa(int(r.FinishedAt.Sub(r.StartedAt).Seconds()))
	}
	if r.ExitUnknown != "" {
		a["exitUnknown"] = r.ExitUnknown
	}
	return a
}

func loadRecord(tx journal.Reader, id string) (*record, error) {
	raw, ok := tx.Get(kindContainer, id)
	if !ok {
		return nil, refuse(errdefs.ErrNotFound, "No such container: %s", id)
	}
	return decodeRecord(raw)
}

func decodeRecord(raw []byte) (*record, error) {
	r := new(record)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("container record: %w: %w", err, errdefs.ErrDataLoss)
	}
	return r, nil
}

func (r *record) put(tx *journal.Tx) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("container record %s: %w", r.ID, err)
	}
	tx.Put(kindContainer, r.ID, raw)
	return nil
}
