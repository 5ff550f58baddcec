package engine

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/signals"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// defaultStopTimeout is what a process has between the stop signal and SIGKILL
// where nobody said anything.
const defaultStopTimeout = 10 * time.Second

// killWait bounds how long SIGKILL may take to show: a process that hangs in
// the kernel is not waited for any longer.
const killWait = 10 * time.Second

// ContainerStop ends a container: its stop signal, then SIGKILL after the
// timeout. NotModified where it doesn't run.
func (e *Engine) ContainerStop(ctx context.Context, ref string, opts StopOptions) error {
	o, err := e.find(ref)
	if err != nil {
		return err
	}
	r := o.Record()
	if !r.Up() {
		return classed.Errorf(errdefs.ErrNotModified, "container %s is not running", r.Name)
	}
	sig, timeout, err := stopPlan(r, opts)
	if err != nil {
		return err
	}
	ctx, free := e.background.Outlive(ctx)
	defer free()
	if err := e.intend(ctx, o, sig, timeout, time.Time{}); err != nil {
		return err
	}
	if err := o.AwaitStart(ctx); err != nil {
		return err
	}
	if err := e.stop(ctx, o); err != nil {
		return e.giveUpStop(ctx, o, err)
	}
	return nil
}

// stopPlan says which signal is sent and how long it has; a negative timeout is
// for ever.
func stopPlan(r *record.Record, opts StopOptions) (syscall.Signal, time.Duration, error) {
	name := cmp.Or(cmp.Or(opts.Signal, r.Config.StopSignal), "SIGTERM")
	sig, err := signals.Parse(name)
	if err != nil {
		return 0, 0, err
	}
	timeout := defaultStopTimeout
	if r.Config.StopTimeout != nil {
		timeout = time.Duration(*r.Config.StopTimeout) * time.Second
	}
	if opts.Timeout != nil {
		timeout = time.Duration(*opts.Timeout) * time.Second
	}
	return sig, timeout, nil
}

// ContainerKill sends a signal to the container's init process.
func (e *Engine) ContainerKill(ctx context.Context, ref, signal string) error {
	sig := syscall.SIGKILL
	if signal != "" {
		var err error
		if sig, err = signals.Parse(signal); err != nil {
			return classed.Errorf(errdefs.ErrInvalidArgument, "cannot kill container: %s: %v", ref, err)
		}
	}
	o, err := e.find(ref)
	if errdefs.IsNotFound(err) {
		return classed.Errorf(errdefs.ErrNotFound, "cannot kill container: %s: %v", ref, err)
	}
	if err != nil {
		return err
	}
	waiting := o.Record().Status == record.StatusRestarting
	if endsContainer(sig, o.Record()) {
		if err := e.endRestarts(ctx, o); err != nil {
			return err
		}
	}
	// Who reads what it prints may be faster than its start.
	if err := o.AwaitStart(ctx); err != nil {
		return err
	}
	r := o.Record()
	if waiting && !r.Up() { // there was nothing else to end
		return nil
	}
	if !r.Running() {
		return classed.Errorf(errdefs.ErrConflict, "cannot kill container: %s: container %s is not running", ref, r.ID)
	}
	if err := e.signal(ctx, o, sig); err != nil {
		return err
	}
	if sig != syscall.SIGKILL {
		return nil
	}
	err = o.AwaitExit(ctx, r.Generation, killWait)
	if errors.Is(err, containers.ErrTooLong) {
		return nil // it hangs in the kernel: the signal is on its way
	}
	return err
}

// signal sends a signal and commits its event. A frozen container is thawed after a signal that is to end it, which the
// container could not follow otherwise; the client layer does that after SIGKILL. The container may have ended before
// that: the exit says whether the signal arrived.
func (e *Engine) signal(ctx context.Context, o *task, sig syscall.Signal) error {
	ctr, err := o.Live()
	if err != nil {
		return err
	}
	r := o.Record()
	signals.AwaitHandler(ctx, r.Pid, sig, r.StartedAt)
	if err := ctr.Signal(ctx, libcontainerd.InitProcess, sig); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if r = o.Record(); sig != syscall.SIGKILL && r.Status == record.StatusPaused && endsContainer(sig, r) {
		if err := ctr.Resume(ctx); err != nil {
			log.WithError(err).WithField("container", o.ID).Debug(
				"cannot resume a paused container after the signal that is to end it")
		}
	}
	return o.Notify(ctx, "kill", signalAttributes(sig))
}

// signalAttributes are those of the event of a signal.
func signalAttributes(sig syscall.Signal) map[string]string {
	return map[string]string{"signal": strconv.Itoa(int(sig))}
}

// endsContainer tells whether who sends a signal wants the container to end.
func endsContainer(sig syscall.Signal, r *record.Record) bool {
	own, err := signals.Parse(r.Config.StopSignal)
	return sig == syscall.SIGKILL || sig == syscall.SIGTERM || (err == nil && sig == own)
}

// ContainerRestart stops the container if it runs, and starts it. That it is to
// be started is written down before it is stopped: an engine that dies in
// between leaves it to the next one.
func (e *Engine) ContainerRestart(ctx context.Context, ref string, opts StopOptions) error {
	o, err := e.find(ref)
	if err != nil {
		return err
	}
	if err := o.Lock(ctx); err != nil {
		return err
	}
	defer o.Unlock()
	if err := o.Record().CheckReadable(); err != nil {
		return err
	}
	if err := e.store.Room(ctx); err != nil { // before it ends what could not be started again
		return err
	}
	ctx, free := e.background.Outlive(ctx)
	defer free()
	if o.Record().Up() {
		sig, timeout, err := stopPlan(o.Record(), opts)
		if err != nil {
			return err
		}
		if err := e.intend(ctx, o, sig, timeout, time.Now()); err != nil {
			return err
		}
		if err := e.stop(ctx, o); err != nil {
			return e.giveUpStop(ctx, o, err)
		}
	}
	return e.restartByUser(ctx, o)
}

// restartByUser starts what was stopped for that. The caller has its operation lock.
func (e *Engine) restartByUser(ctx context.Context, o *task) error {
	if err := e.startByUser(ctx, o, ""); err != nil {
		return err
	}
	return o.Notify(ctx, "restart", nil)
}
