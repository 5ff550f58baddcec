// Package exec is the processes that users add to running containers, Docker's "exec instances".
//
// An exec is known for some minutes after its end. While it runs, the journal has a record of it, so that the next engine
// takes it up.
package exec

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/background"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/inspect"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/process"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/request"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/heldstdio"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Config is what execs need of the engine. None may be nil.
type Config struct {
	Store      *store.Store
	Daemon     libcontainerd.Daemon
	Containers *containers.Registry
	Processes  *process.Table
	Stdio      *heldstdio.Stdio
	Background *background.Group
	// Clients joins the goroutines that read from clients.
	Clients *background.Goroutines
	// Dir returns the directory of a container.
	Dir func(container string) string
	// OutputBound is how many bytes of a stream are kept for clients that lag; 0 is logs.DefaultBound.
	OutputBound int64
}

// Execs has the execs of an engine. Its methods may be called from any goroutine.
type Execs struct {
	c Config
	// unread are the ids of records that cannot be read, by container. ReadExecs finds them, and nothing changes them.
	unread map[string][]string

	mu    sync.Mutex
	byID  map[string]*instance
	ended map[string]Inspect // what is left of an exec that has ended; an instance holds all of its container
}

// New returns a table without execs.
func New(c Config) *Execs {
	return &Execs{c: c, byID: map[string]*instance{}, ended: map[string]Inspect{}}
}

// StartOptions says how an exec is started.
type StartOptions struct {
	Detach bool
	// ConsoleSize is height and width in characters.
	ConsoleSize *[2]uint
	// Open takes the connection over; not called where Detach is set.
	Open func(terminal bool) (stdio.ClientStreams, error)
}

// Inspect is what is known of an exec.
type Inspect = container.ExecInspectResponse

// instance is one exec. It is the process.Process of the exec.
type instance struct {
	execs   *Execs
	id      string
	owner   *containers.Container
	request record.ExecRequest
	io      *stdio.IO

	mu      sync.Mutex
	started bool
	pid     int
	// exit is set, and exited closed, when the process has ended or failed to start.
	exit   *int
	exited chan struct{}
	// announced is closed when the exec_start event is in the journal.
	announced chan struct{}
}

// failedExec is Docker's exit code of an exec that did not start for another reason than its command.
const failedExec = 126

// keepEnded is how long an ended exec can still be asked for its exit code.
const keepEnded = 5 * time.Minute

func (e *Execs) newInstance(id string, owner *containers.Container, req record.ExecRequest, stdinClosed bool) (*instance, error) {
	l, err := stdio.Open(stdio.Config{
		Terminal: req.Tty, Stdin: req.AttachStdin, Once: true, StdinClosed: stdinClosed,
		RawDir: e.dir(owner.ID, id), Bound: e.c.OutputBound, Clients: e.c.Clients,
	})
	if errors.Is(err, fs.ErrNotExist) { // the container's directory
		return nil, record.NotFound(owner.ID)
	}
	if err != nil {
		return nil, err
	}
	return &instance{
		execs: e, id: id, owner: owner, request: req, io: l, exited: make(chan struct{}), announced: make(chan struct{}),
	}, nil
}

// dir is the directory of an exec's raw output.
func (e *Execs) dir(container, id string) string {
	return filepath.Join(e.c.Dir(container), dirPrefix+id)
}

func (e *Execs) add(x *instance) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.byID[x.id] = x
}

func (e *Execs) forget(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.byID, id)
	delete(e.ended, id)
}

// find returns an exec that has not ended. Errors: Conflict where the exec has ended, NotFound.
func (e *Execs) find(id string) (*instance, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x, ok := e.byID[id]; ok {
		return x, nil
	}
	if _, ok := e.ended[id]; ok {
		return nil, classed.Errorf(errdefs.ErrConflict, "exec command %s has already run", id)
	}
	return nil, classed.Errorf(errdefs.ErrNotFound, "No such exec instance: %s", id)
}

// ExecCreate prepares a process for a running container, and returns the exec's id.
func (e *Execs) ExecCreate(ctx context.Context, ref string, req container.ExecCreateRequest) (string, error) {
	if len(req.Cmd) == 0 {
		return "", classed.Errorf(errdefs.ErrInvalidArgument, "No exec command specified")
	}
	o, err := e.c.Containers.Find(ref)
	if err != nil {
		return "", err
	}
	if err := o.AwaitStart(ctx); err != nil {
		return "", err
	}
	r := o.Record()
	if err := r.CheckReadable(); err != nil {
		return "", err
	}
	if err := checkRunning(r, ref); err != nil {
		return "", err
	}
	if _, err := stdio.ParseDetachKeys(req.DetachKeys); err != nil {
		return "", err
	}
	asked := request.Exec(req)
	if _, err := Process(r, asked, nil); err != nil { // a user who is not there, for one
		return "", err
	}
	if err := e.c.Store.Room(ctx); err != nil {
		return "", err
	}
	id, err := NewID()
	if err != nil {
		return "", err
	}
	x, err := e.newInstance(id, o, asked, false)
	if err != nil {
		return "", err
	}
	if err := x.join(); err != nil {
		return "", errors.Join(err, x.io.End())
	}
	e.add(x)
	if err := x.notify(ctx, "exec_create: "+strings.Join(req.Cmd, " ")); err != nil {
		return "", errors.Join(err, x.abandon())
	}
	return x.id, nil
}

// NewID returns a new id of an exec: 64 hexadecimal digits, at random.
func NewID() (string, error) {
	id := make([]byte, 32)
	if _, err := rand.Read(id); err != nil {
		return "", fmt.Errorf("exec id: %w", err)
	}
	return hex.EncodeToString(id), nil
}

// checkRunning refuses an exec in a container that the user has named ref.
func checkRunning(r *record.Record, ref string) error {
	switch {
	case r.Status == record.StatusPaused:
		return classed.Errorf(errdefs.ErrConflict, "Container %s is paused, unpause the container before exec", ref)
	case !r.Running():
		return classed.Errorf(errdefs.ErrConflict, "container %s is not running", r.ID)
	}
	return nil
}

// join makes an exec one of the container's processes, unless the container has ended meanwhile: then nobody would end
// the exec.
func (x *instance) join() error {
	x.owner.LockState()
	defer x.owner.UnlockState()
	if x.owner.Task == nil || !x.owner.Rec.Running() {
		return classed.Errorf(errdefs.ErrConflict, "container %s is not running", x.owner.ID)
	}
	x.execs.c.Processes.Add(x.owner.ID, x.id, x)
	return nil
}

func (x *instance) notify(ctx context.Context, action string) error {
	return x.owner.Notify(ctx, action, Attributes(x.id, nil)(nil))
}

// Attributes are those of an exec's events; more is added to them.
func Attributes(id string, more map[string]string) func(*record.Record) map[string]string {
	a := map[string]string{"execID": id}
	for key, value := range more {
		a[key] = value
	}
	return func(*record.Record) map[string]string { return a }
}

// ExecInspect returns what is known of an exec.
func (e *Execs) ExecInspect(_ context.Context, id string) (Inspect, error) {
	x, err := e.find(id)
	if err == nil {
		return x.inspect(), nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if last, ok := e.ended[id]; ok {
		return last, nil
	}
	return Inspect{}, err
}

func (x *instance) inspect() Inspect {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := record.Exec{ID: x.id, Container: x.owner.ID, Pid: x.pid, Request: x.request}
	return inspect.Exec(r, x.started && x.exit == nil, x.exit)
}

// startPatience is how long a call waits for an exec whose start is under way, as dockerd does.
const startPatience = 10 * time.Second

// ExecResize sets the size of an exec's terminal, in characters. A client that has the answer to its start sends the size
// at once, and the process may be started later: the call waits for that. Errors: FailedPrecondition where the exec is not
// started in time, and Conflict where the container does not run.
func (e *Execs) ExecResize(ctx context.Context, id string, height, width uint32) error {
	x, err := e.find(id)
	if errdefs.IsConflict(err) {
		return classed.Errorf(errdefs.ErrConflict, "exec command %s is not running", id)
	}
	if err != nil {
		return err
	}
	if r := x.owner.Record(); !r.Running() {
		return classed.Errorf(errdefs.ErrConflict, "container %s is not running", r.ID)
	}
	select {
	case <-x.announced:
	case <-x.exited:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(startPatience):
		return classed.Errorf(errdefs.ErrFailedPrecondition, "exec %s is not started", x.id)
	}
	ctr, err := x.owner.Live()
	if err != nil {
		return err
	}
	return ctr.Resize(ctx, x.id, width, height)
}

func (x *instance) setExit(code int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.exit == nil {
		x.exit = &code
		close(x.exited)
	}
}

// finish ends the exec's streams, and forgets the exec after a while.
func (x *instance) finish() {
	if err := x.io.End(); err != nil {
		log.WithError(err).WithField("exec", x.id).Warn("cannot close the streams of an ended exec")
	}
	e := x.execs
	e.c.Processes.Remove(x.owner.ID, x.id)
	last := x.inspect()
	e.mu.Lock()
	delete(e.byID, x.id)
	e.ended[x.id] = last
	e.mu.Unlock()
	id := x.id
	time.AfterFunc(keepEnded, func() { e.forget(id) })
}

// abandon forgets an exec that was never started.
func (x *instance) abandon() error {
	x.mu.Lock()
	idle := !x.started
	x.started = true
	x.mu.Unlock()
	if !idle {
		return nil
	}
	x.execs.c.Processes.Remove(x.owner.ID, x.id)
	x.execs.forget(x.id)
	return x.io.End()
}
