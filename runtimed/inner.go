package runtimed

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
)

// innerPidFile has an exec's pid inside of its sandbox. It is there only where the process that the host sees is not the exec itself but a waiter for it, because
// the container has a kernel of its own: the waiter hands on no signal unless there is a terminal, and what it waits for doesn't end with it.
const innerPidFile = "inner-pid"

// waiterBound is how long a waiter may take to end after its exec.
const waiterBound = 10 * time.Second

// ownKernel tells whether a container that the OCI runtime has made runs on a kernel of its own, which the name of gVisor's state files tells.
func (r ociRuntime) ownKernel(id string) bool {
	files, err := filepath.Glob(filepath.Join(r.Root, id+"_sandbox:*")) // no valid id has a character that is special here
	return err == nil && len(files) > 0
}

// signal sends a signal to a process. NotFound for one that has ended, FailedPrecondition for an exec that is frozen together with its own kernel.
func (p *process) signal(ctx context.Context, signal uint32) error {
	pid, start, ok := p.identity()
	if !ok || start == 0 {
		return p.noProcess()
	}
	switch {
	case signal != 0 && exists(p.file(innerPidFile)):
		return p.signalInner(ctx, pid, start, signal)
	case signal == killSignal && p.exec == "":
		return p.task.kill(pid, start)
	}
	return signalProcess(pid, start, signal)
}

// signalInner sends a signal to an exec by its pid inside of the sandbox. The OCI runtime's words don't tell an exec that has ended from one that can't be signalled;
// the end of its waiter does, which has this pid and start time. Without a known waiter, pid 0, it counts as ended.
func (p *process) signalInner(ctx context.Context, pid int, start uint64, signal uint32) error {
	inner, err := readPid(p.file(innerPidFile))
	if err != nil {
		return err
	}
	err = p.task.record.Runtime.killInner(ctx, p.task.c.id, p.dir, inner, int(signal))
	switch {
	case err == nil:
		return nil
	case p.task.isPaused():
		return fmt.Errorf("cannot signal %s while its container is paused: %v: %w", p, err, errdefs.ErrFailedPrecondition)
	}
	bounded, cancel := context.WithTimeout(ctx, waiterBound)
	defer cancel()
	if pid != 0 {
		if _, ended := awaitOrphan(bounded, pid, start); ended != nil && !errdefs.IsNotFound(ended) {
			return err
		}
	}
	return p.gone()
}

// killInner sends a signal to a process by its pid inside of the sandbox.
func (r ociRuntime) killInner(ctx context.Context, id, dir string, pid, signal int) error {
	return r.run(ctx, "kill", dir, func(c *runc.Runc) error {
		return c.Kill(ctx, id, signal, &runc.KillOpts{ExtraArgs: []string{"--pid", strconv.Itoa(pid)}})
	})
}

// kill kills an init process, and with it all that is in its pid namespace. The waiters of execs go first: the exit of one whose sandbox is gone tells
// nothing of the exec.
func (t *containerTask) kill(pid int, start uint64) error {
	for _, p := range t.processes() {
		waiter, began, ok := p.identity()
		if !ok || began == 0 || !exists(p.file(innerPidFile)) {
			continue
		}
		if err := signalProcess(waiter, began, killSignal); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return signalProcess(pid, start, killSignal)
}
