package libcontainerdtest

import (
	"context"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Call is one call of a runtime daemon's method.
type Call struct {
	// Op is the name of the method, such as "CreateTask".
	Op string
	// ContainerID and ProcessID are the arguments of the call; empty if it has none.
	ContainerID, ProcessID string
}

// Tap is a Daemon that passes calls on to another daemon, in memory or real. Its hooks let a test count, delay or
// refuse calls, or lose their answers. The calls Version, Containers, Processes and Checkpoint are passed on
// without hooks. Hooks must be set before the Tap is used; they are called from many goroutines, without a lock.
type Tap struct {
	libcontainerd.Daemon
	// Before, if set, is called before each call. If it returns an error, that is the answer, and the daemon isn't
	// called.
	Before func(ctx context.Context, c Call) error
	// After, if set, is called after each call that Before let pass, with the error of the call. The error that
	// After returns replaces it.
	After func(ctx context.Context, c Call, err error) error
}

// CopiesOutput returns the answer of the other daemon; false if it isn't a Copier.
func (t *Tap) CopiesOutput() bool {
	d, ok := t.Daemon.(libcontainerd.Copier)
	return ok && d.CopiesOutput()
}

// tapped makes a call that has a result.
func tapped[T any](ctx context.Context, t *Tap, c Call, call func() (T, error)) (T, error) {
	var none T
	if t.Before != nil {
		if err := t.Before(ctx, c); err != nil {
			return none, err
		}
	}
	v, err := call()
	if t.After != nil {
		err = t.After(ctx, c, err)
	}
	if err != nil {
		return none, err
	}
	return v, nil
}

// tap makes a call that has no result.
func (t *Tap) tap(ctx context.Context, c Call, call func() error) error {
	_, err := tapped(ctx, t, c, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// CreateContainer calls the hooks and the daemon.
func (t *Tap) CreateContainer(ctx context.Context, r libcontainerd.Record) error {
	return t.tap(ctx, Call{"CreateContainer", r.ID, ""}, func() error { return t.Daemon.CreateContainer(ctx, r) })
}

// DeleteContainer calls the hooks and the daemon.
func (t *Tap) DeleteContainer(ctx context.Context, id string) error {
	return t.tap(ctx, Call{"DeleteContainer", id, ""}, func() error { return t.Daemon.DeleteContainer(ctx, id) })
}

// CreateTask calls the hooks and the daemon.
func (t *Tap) CreateTask(ctx context.Context, id string, c libcontainerd.TaskConfig) (int, error) {
	return tapped(ctx, t, Call{"CreateTask", id, libcontainerd.InitProcess},
		func() (int, error) { return t.Daemon.CreateTask(ctx, id, c) })
}

// AddExec calls the hooks and the daemon.
func (t *Tap) AddExec(ctx context.Context, id, execID string, c libcontainerd.ExecConfig) error {
	return t.tap(ctx, Call{"AddExec", id, execID}, func() error { return t.Daemon.AddExec(ctx, id, execID, c) })
}

// Start calls the hooks and the daemon.
func (t *Tap) Start(ctx context.Context, id, process string) (int, error) {
	return tapped(ctx, t, Call{"Start", id, process}, func() (int, error) { return t.Daemon.Start(ctx, id, process) })
}

// Kill calls the hooks and the daemon.
func (t *Tap) Kill(ctx context.Context, id, process string, sig syscall.Signal, all bool) error {
	return t.tap(ctx, Call{"Kill", id, process}, func() error { return t.Daemon.Kill(ctx, id, process, sig, all) })
}

// Resize calls the hooks and the daemon.
func (t *Tap) Resize(ctx context.Context, id, process string, width, height uint32) error {
	return t.tap(ctx, Call{"Resize", id, process},
		func() error { return t.Daemon.Resize(ctx, id, process, width, height) })
}

// CloseIO calls the hooks and the daemon.
func (t *Tap) CloseIO(ctx context.Context, id, process string) error {
	return t.tap(ctx, Call{"CloseIO", id, process}, func() error { return t.Daemon.CloseIO(ctx, id, process) })
}

// Pause calls the hooks and the daemon.
func (t *Tap) Pause(ctx context.Context, id string) error {
	return t.tap(ctx, Call{"Pause", id, ""}, func() error { return t.Daemon.Pause(ctx, id) })
}

// Resume calls the hooks and the daemon.
func (t *Tap) Resume(ctx context.Context, id string) error {
	return t.tap(ctx, Call{"Resume", id, ""}, func() error { return t.Daemon.Resume(ctx, id) })
}

// Pids calls the hooks and the daemon.
func (t *Tap) Pids(ctx context.Context, id string) ([]int, error) {
	return tapped(ctx, t, Call{"Pids", id, ""}, func() ([]int, error) { return t.Daemon.Pids(ctx, id) })
}

// Stats calls the hooks and the daemon.
func (t *Tap) Stats(ctx context.Context, id string) (*libcontainerd.Stats, error) {
	return tapped(ctx, t, Call{"Stats", id, ""},
		func() (*libcontainerd.Stats, error) { return t.Daemon.Stats(ctx, id) })
}

// Update calls the hooks and the daemon.
func (t *Tap) Update(ctx context.Context, id string, r *specs.LinuxResources) error {
	return t.tap(ctx, Call{"Update", id, ""}, func() error { return t.Daemon.Update(ctx, id, r) })
}

// Wait calls the hooks and the daemon.
func (t *Tap) Wait(ctx context.Context, id, process string) (libcontainerd.Exit, error) {
	return tapped(ctx, t, Call{"Wait", id, process},
		func() (libcontainerd.Exit, error) { return t.Daemon.Wait(ctx, id, process) })
}

// Delete calls the hooks and the daemon.
func (t *Tap) Delete(ctx context.Context, id, process string) (libcontainerd.Exit, error) {
	return tapped(ctx, t, Call{"Delete", id, process},
		func() (libcontainerd.Exit, error) { return t.Daemon.Delete(ctx, id, process) })
}

// Process calls the hooks and the daemon.
func (t *Tap) Process(ctx context.Context, id, process string) (libcontainerd.Task, error) {
	return tapped(ctx, t, Call{"Process", id, process},
		func() (libcontainerd.Task, error) { return t.Daemon.Process(ctx, id, process) })
}

// Tasks calls the hooks and the daemon.
func (t *Tap) Tasks(ctx context.Context) ([]libcontainerd.Task, error) {
	return tapped(ctx, t, Call{Op: "Tasks"}, func() ([]libcontainerd.Task, error) { return t.Daemon.Tasks(ctx) })
}

// Subscribe calls the hooks and the daemon. The hooks don't see the events.
func (t *Tap) Subscribe(ctx context.Context) (libcontainerd.Subscription, error) {
	return tapped(ctx, t, Call{Op: "Subscribe"},
		func() (libcontainerd.Subscription, error) { return t.Daemon.Subscribe(ctx) })
}
