package engine

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logs"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/request"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/spec"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/users"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// execution is a process that a user added to a running container. It is known
// for keepExecs after its end, and while it runs the journal has a record of it.
type execution struct {
	id      string
	owner   *task
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

// keepExecs is how long an ended exec can still be asked for its exit code.
const keepExecs = 5 * time.Minute

// execTable finds execs by id.
type execTable struct {
	mu    sync.Mutex
	byID  map[string]*execution
	ended map[string]ExecInspect // not the execution, which holds all of its container
}

func (t *execTable) add(x *execution) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byID[x.id] = x
}

func (t *execTable) remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, id)
	delete(t.ended, id)
}

func (t *execTable) find(id string) (*execution, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x, ok := t.byID[id]; ok {
		return x, nil
	}
	if _, ok := t.ended[id]; ok {
		return nil, classed.Errorf(errdefs.ErrConflict, "exec %s has already run", id)
	}
	return nil, classed.Errorf(errdefs.ErrNotFound, "No such exec instance: %s", id)
}

// ExecCreate prepares a process for a running container.
func (e *Engine) ExecCreate(ctx context.Context, ref string, req container.ExecCreateRequest) (string, error) {
	o, err := e.find(ref)
	if err != nil {
		return "", err
	}
	if err := e.letStart(ctx, o); err != nil {
		return "", err
	}
	r := o.Record()
	switch err := r.CheckReadable(); {
	case err != nil:
		return "", err
	case len(req.Cmd) == 0:
		return "", classed.Errorf(errdefs.ErrInvalidArgument, "No exec command specified")
	case r.Status == record.StatusPaused:
		return "", classed.Errorf(errdefs.ErrConflict, "Container %s is paused, unpause the container before exec", r.ID)
	case !r.Running():
		return "", classed.Errorf(errdefs.ErrConflict, "container %s is not running", r.ID)
	}
	if _, err := stdio.ParseDetachKeys(req.DetachKeys); err != nil {
		return "", err
	}
	if err := e.store.Room(ctx); err != nil {
		return "", err
	}
	id := make([]byte, 32)
	if _, err := rand.Read(id); err != nil {
		return "", fmt.Errorf("exec id: %w", err)
	}
	x := &execution{id: hex.EncodeToString(id), owner: o, request: request.Exec(req), exited: make(chan struct{}), announced: make(chan struct{})}
	x.io, err = stdio.Open(stdio.Config{
		Terminal: req.Tty, Stdin: req.AttachStdin, Once: true,
		RawDir: e.execDir(o.ID, x.id), Bound: e.opts.OutputBound, Clients: &e.clients,
	})
	if err != nil {
		return "", err
	}
	if err := o.addExec(x); err != nil {
		return "", errors.Join(err, x.io.End())
	}
	e.execs.add(x)
	if err := e.notifyExec(ctx, x, "exec_create: "+strings.Join(req.Cmd, " ")); err != nil {
		return "", errors.Join(err, e.abandonExec(x))
	}
	return x.id, nil
}

// addExec makes an exec the container's, unless the container has ended
// meanwhile: then nobody would end the exec.
func (o *task) addExec(x *execution) error {
	o.LockState()
	defer o.UnlockState()
	if o.Task == nil || !o.Rec.Running() {
		return classed.Errorf(errdefs.ErrConflict, "container %s is not running", o.ID)
	}
	o.execs[x.id] = x
	return nil
}

func (e *Engine) notifyExec(ctx context.Context, x *execution, action string) error {
	return x.owner.Notify(ctx, action, x.attributes(nil)(nil))
}

// attributes are those of the exec's events.
func (x *execution) attributes(more map[string]string) func(*record.Record) map[string]string {
	return execAttributes(x.id, more)
}

func execAttributes(id string, more map[string]string) func(*record.Record) map[string]string {
	a := map[string]string{"execID": id}
	maps.Copy(a, more)
	return func(*record.Record) map[string]string { return a }
}

// ExecStart runs an exec; attached, it returns when the output has ended and
// the exit code is known.
func (e *Engine) ExecStart(ctx context.Context, id string, opts ExecStartOptions) error {
	x, err := e.execs.find(id)
	if err != nil {
		return err
	}
	if err := x.claim(); err != nil {
		return err
	}
	if opts.Detach {
		return e.runExec(ctx, x, opts)
	}
	keys, err := stdio.ParseDetachKeys(x.request.DetachKeys)
	if err != nil {
		return err
	}
	follow := logs.FollowOptions{Stdout: x.request.AttachStdout, Stderr: x.request.AttachStderr}
	err = x.io.Client(ctx, follow, keys, func() (Streams, error) {
		failed := e.runExec(ctx, x, opts)
		streams, err := opts.Open(x.io.Terminal)
		if failed != nil && err == nil {
			err = streams.Fail(failed)
		}
		return streams, errors.Join(failed, err)
	})
	if errors.Is(err, stdio.ErrDetached) {
		return e.notifyExec(ctx, x, "exec_detach")
	}
	if err != nil {
		return err
	}
	// A client that sees its connection end asks for the exit code next.
	select {
	case <-x.exited:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// claim makes sure that an exec is started once.
func (x *execution) claim() error {
	r := x.owner.Record()
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.started:
		return classed.Errorf(errdefs.ErrConflict, "exec %s has already run", x.id)
	case r.Status == record.StatusPaused:
		return classed.Errorf(errdefs.ErrConflict, "Container %s is paused, unpause the container before exec", r.ID)
	case !r.Running():
		return classed.Errorf(errdefs.ErrConflict, "container %s is not running", r.ID)
	}
	x.started = true
	return nil
}

func (e *Engine) runExec(ctx context.Context, x *execution, opts ExecStartOptions) error {
	ctx, free := e.background.Outlive(ctx)
	defer free()
	err := e.startExec(ctx, x, opts.ConsoleSize)
	if err == nil {
		return x.awaitAnnounced(ctx)
	}
	code, text, class := startFailure(err)
	if code == failedStart {
		code = failedExec
	}
	if errdefs.IsNotFound(err) && errors.Is(class, errdefs.ErrInternal) {
		class = errdefs.ErrConflict // the container went meanwhile
	}
	x.setExit(code)
	e.finishExec(x)
	return classed.Errorf(class, "%s", text)
}

// awaitAnnounced waits until the start is in the journal: a client that was
// answered finds its event there.
func (x *execution) awaitAnnounced(ctx context.Context) error {
	select {
	case <-x.announced:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (e *Engine) startExec(ctx context.Context, x *execution, size *[2]uint) error {
	ctr, err := x.owner.Live()
	if err != nil {
		return err
	}
	process, err := e.execProcess(x.owner.Record(), x.request, size)
	if err != nil {
		return err
	}
	pid, err := ctr.Exec(ctx, x.id, process, libcontainerd.StdioConfig{Terminal: x.request.Tty, Stdin: x.request.AttachStdin})
	if err != nil {
		return err
	}
	x.mu.Lock()
	x.pid = pid
	x.mu.Unlock()
	return nil
}

// execProcess is the container's own process with what the request changes.
func (e *Engine) execProcess(r *record.Record, req record.ExecRequest, size *[2]uint) (*specs.Process, error) {
	root := fmt.Sprintf("/proc/%d/root", r.Pid)
	user, err := users.Resolve([]string{root}, cmp.Or(req.User, r.Config.User), r.HostConfig.GroupAdd)
	if err != nil {
		return nil, err
	}
	privileged := *r
	if req.Privileged && !r.HostConfig.Privileged {
		h := *r.HostConfig
		h.CapAdd = []string{"ALL"}
		privileged.HostConfig = &h
	}
	s, err := spec.BuildExec(&privileged, user)
	if err != nil {
		return nil, err
	}
	p := s.Process
	p.Args = req.Cmd
	p.Terminal = req.Tty
	p.Cwd = cmp.Or(req.WorkingDir, p.Cwd)
	p.Env = request.MergeEnv(req.Env, p.Env)
	p.ConsoleSize = nil
	for _, s := range []*[2]uint{req.ConsoleSize, size} {
		if s != nil && req.Tty {
			p.ConsoleSize = &specs.Box{Height: s[0], Width: s[1]}
		}
	}
	return p, nil
}

// onExecStarted commits an exec's start. It is done here and not where the
// start was asked for, since the exit of a short exec would overtake it there.
func (e *Engine) onExecStarted(ctx context.Context, o *task, ev libcontainerd.Event) error {
	if isProbe(ev.ProcessID) {
		if p := o.probeOf(ev.ProcessID); p != nil {
			p.start()
		}
		return nil
	}
	x := o.exec(ev.ProcessID)
	if x == nil {
		return nil
	}
	if err := e.recordExecStart(ctx, x, ev); err != nil {
		return err
	}
	close(x.announced)
	return nil
}

func (o *task) exec(id string) *execution {
	o.LockState()
	defer o.UnlockState()
	return o.execs[id]
}

// onExecExit commits an exec's exit; DrainStreams comes next.
func (e *Engine) onExecExit(ctx context.Context, o *task, ev libcontainerd.Event) error {
	x := o.exec(ev.ProcessID)
	if x == nil {
		return nil
	}
	if err := e.recordExecExit(ctx, x, ev); err != nil {
		return err
	}
	x.setExit(shownCode(ev.Exit))
	return nil
}

// shownCode is Docker's number for an exit: 255 where nobody knows it.
func shownCode(x libcontainerd.Exit) int {
	if x.Unknown != "" {
		return 255
	}
	return x.Code
}

// settleExec ends an exec whose output was delivered.
func (e *Engine) endExec(o *task, id string) {
	if x := o.exec(id); x != nil {
		e.finishExec(x)
	}
}

func (x *execution) setExit(code int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.exit == nil {
		x.exit = &code
		close(x.exited)
	}
}

// finishExec ends the exec's streams and forgets it after a while.
func (e *Engine) finishExec(x *execution) {
	if err := x.io.End(); err != nil {
		log.WithError(err).WithField("exec", x.id).Warn("cannot clean up after the exec")
	}
	x.owner.Change(func() { delete(x.owner.execs, x.id) })
	id := x.id
	e.execs.end(id, x.inspect())
	time.AfterFunc(keepExecs, func() { e.execs.remove(id) })
}

// abandonExecs ends the execs that were made and never started when their
// container has ended.
func (e *Engine) abandonExecs(o *task) error {
	o.LockState()
	list := slices.Collect(maps.Values(o.execs))
	o.UnlockState()
	var errs []error
	for _, x := range list {
		errs = append(errs, e.abandonExec(x))
	}
	return errors.Join(errs...)
}

// abandonExec forgets an exec that was never started.
func (e *Engine) abandonExec(x *execution) error {
	x.mu.Lock()
	idle := !x.started
	x.started = true
	x.mu.Unlock()
	if !idle {
		return nil
	}
	x.owner.Change(func() { delete(x.owner.execs, x.id) })
	e.execs.remove(x.id)
	return x.io.End()
}
