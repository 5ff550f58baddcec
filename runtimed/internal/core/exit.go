package core

import (
	"context"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/engine-lite/engine-lite/internal/await"
	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/runtimed/internal/proc"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// exited handles the exit of a process. While the process is being made or started, the exit is put aside;
// finishEarly handles it afterwards.
func (p *Process) exited(e keeper.Exit) {
	p.mu.Lock()
	if p.status == creating || p.status == starting {
		p.early = &e
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	p.finish(recordOf(e), &e)
}

// finish makes the exit of a process known: it writes the exit record, publishes the event, wakes those who wait, and
// then lets the keeper forget the exit. Slow steps (a terminal to drain, processes to kill) run on a goroutine of
// their own, since the caller has other exits to handle.
func (p *Process) finish(r ExitRecord, ledger *keeper.Exit) {
	d := p.task.c.d
	term := p.terminal()
	killLeftover := p.exec == "" && p.task.record.HostPid
	if term == nil && !killLeftover {
		p.finishNow(r, ledger)
		return
	}
	d.work.Go(func() {
		if term != nil {
			term.Drain()
		}
		if killLeftover {
			p.task.killLeftover()
		}
		p.finishNow(r, ledger)
		if term != nil {
			term.Close()
		}
	})
}

func (p *Process) finishNow(r ExitRecord, ledger *keeper.Exit) {
	d := p.task.c.d
	log := d.log.WithFields(logrus.Fields{"namespace": p.task.c.ns, "process": p.String()})
	if p.exec == "" {
		groups := p.task.controlGroups()
		r.OOM = groups.OOMKilled()
	}
	if err := statefile.WriteJSON(p.file("exit"), r); err != nil {
		log.WithError(err).Error(
			"cannot write an exit record; the exit stays in the keeper's ledger for the next runtimed")
		ledger = nil
	}
	p.announce(r, log)
	if p.exec == "" {
		p.task.endMembers()
	}
	if ledger != nil {
		d.forgetExit(*ledger)
	}
	p.releaseStreams("")
}

// announce publishes a process's end and wakes those who wait for it.
func (p *Process) announce(r ExitRecord, log *logrus.Entry) {
	d := p.task.c.d
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.transitionLocked("end", stopped); err != nil {
		log.WithError(err).Warn("got a second exit of a process; ignoring it")
		return
	}
	p.exit, p.term = r, nil
	c := p.task.c
	if r.OOM {
		d.publish(c.ns, runtime.TaskOOMEventTopic, &events.TaskOOM{ContainerID: c.id})
	}
	d.publish(c.ns, runtime.TaskExitEventTopic, &events.TaskExit{
		ContainerID: c.id, ID: p.ID(), Pid: uint32(p.pid), ExitStatus: r.Status(), ExitedAt: timestamppb.New(r.Time),
	})
	close(p.done)
}

// finishEarly handles the exit that was put aside, if there is one.
func (p *Process) finishEarly() {
	p.mu.Lock()
	e := p.early
	p.early = nil
	p.mu.Unlock()
	if e != nil {
		p.finish(recordOf(*e), e)
	}
}

// killLeftover kills the processes that an init process without a pid namespace of its own has left behind.
func (t *containerTask) killLeftover() {
	d := t.c.d
	ctx, cancel := context.WithTimeout(context.Background(), runtimeTimeout)
	defer cancel()
	if err := t.record.Runtime.SignalAll(ctx, t.target(), int(unix.SIGKILL)); err != nil {
		d.log.WithError(err).WithField("container", t.c.id).Warn(
			"cannot kill the processes that run on after their container's exit")
	}
}

// sweep finds processes that have ended and whose exit never arrived. It runs after each new connection to the
// keeper. If the keeper's ledger has no exit either, the exit is unknown for good.
func (d *Daemon) sweep() {
	for pid, l := range d.exits.all() {
		if l.start == 0 || proc.Alive(pid, l.start) {
			continue // without a start time only the exits themselves can tell
		}
		exit, found, err := d.lookup(pid, l.start)
		if err != nil {
			d.log.WithError(err).WithField("pid", pid).Warn(
				"cannot look up an exit in the keeper's ledger; trying again after the next connection")
			continue
		}
		if !d.exits.forget(pid, l.p) {
			continue // settled in the meantime
		}
		if found {
			l.p.exited(exit)
			continue
		}
		l.p.finish(unknownExit("the process ended while no keeper was its parent"), nil)
	}
}

// lookup asks the keeper's ledger for an exit.
func (d *Daemon) lookup(pid int, start uint64) (e keeper.Exit, found bool, err error) {
	err = d.keeper.Do(func(ctx context.Context, k *keeper.Client) error {
		var err error
		e, found, err = k.Lookup(ctx, pid, start)
		return err
	})
	return e, found, err
}

// expect registers a new process for its exit. If the process has ended already, its exit is put aside.
func (p *Process) expect(w *window) {
	d := p.task.c.d
	p.mu.Lock()
	pid, start := p.pid, p.start
	p.mu.Unlock()
	if e := d.exits.expect(pid, liveProcess{p: p, start: start, since: w.since}); e != nil {
		p.exited(*e)
	}
}

// closeWindow ends the time in which a process was made.
func (d *Daemon) closeWindow(w *window) {
	for _, e := range w.close() {
		d.forgetExit(e)
	}
}

// awaitEnd waits until a process's exit is published, at most endBound.
func awaitEnd(ctx context.Context, p *Process) error {
	ctx, cancel := context.WithTimeout(ctx, endBound)
	defer cancel()
	if await.Closed(ctx, p.done) != nil {
		return ctx.Err()
	}
	return nil
}
