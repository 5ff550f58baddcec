package runtimed

import (
	"context"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/engine-lite/engine-lite/keeper"
)

// exited takes a process's exit from the keeper. While the process is being made or started the exit is put by: the one who does that settles it.
func (d *Daemon) exited(p *process, e keeper.Exit) {
	p.mu.Lock()
	if p.status == creating || p.status == starting {
		p.early = &e
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	d.settle(p, recordOf(e), &e)
}

// settle makes a process's exit known: first the exit record, then the event, then whoever waits, and last the keeper may forget it. What takes
// time (a terminal to drain, processes to kill) is not done on the caller's goroutine, which has other exits to handle.
func (d *Daemon) settle(p *process, r exitRecord, ledger *keeper.Exit) {
	term := p.terminal()
	killRest := p.exec == "" && p.task.record.HostPid
	if term == nil && !killRest {
		d.settleNow(p, r, ledger)
		return
	}
	d.work.Go(func() {
		if term != nil {
			term.drain()
		}
		if killRest {
			d.killRest(p.task)
		}
		d.settleNow(p, r, ledger)
		if term != nil {
			term.close()
		}
	})
}

func (d *Daemon) settleNow(p *process, r exitRecord, ledger *keeper.Exit) {
	log := d.log.WithFields(logrus.Fields{"namespace": p.task.c.ns, "process": p.String()})
	if p.exec == "" {
		groups := p.task.controlGroups()
		r.OOM = groups.oomKilled()
	}
	if err := writeJSON(p.file("exit"), r); err != nil {
		log.WithError(err).Error("cannot write the exit record; the keeper goes on to remember the exit")
		ledger = nil
	}
	d.announce(p, r, log)
	if p.exec == "" {
		d.endMembers(p.task)
	}
	if ledger != nil {
		d.forgetExit(*ledger)
	}
	d.releaseStreams(p, "")
}

// announce publishes a process's end and wakes those who wait for it.
func (d *Daemon) announce(p *process, r exitRecord, log *logrus.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.transitionLocked("end", stopped); err != nil {
		log.WithError(err).Warn("an exit came for a process that had ended")
		return
	}
	p.exit, p.term = r, nil
	c := p.task.c
	if r.OOM {
		d.publish(c.ns, runtime.TaskOOMEventTopic, &events.TaskOOM{ContainerID: c.id})
	}
	d.publish(c.ns, runtime.TaskExitEventTopic, &events.TaskExit{
		ContainerID: c.id, ID: p.id(), Pid: uint32(p.pid), ExitStatus: r.status(), ExitedAt: timestamppb.New(r.Time),
	})
	close(p.done)
}

// settleEarly settles the exit that was put by, if there is one.
func (d *Daemon) settleEarly(p *process) {
	p.mu.Lock()
	e := p.early
	p.early = nil
	p.mu.Unlock()
	if e != nil {
		d.settle(p, recordOf(*e), e)
	}
}

// killRest ends what an init process without a pid namespace of its own has left behind.
func (d *Daemon) killRest(t *containerTask) {
	ctx, cancel := context.WithTimeout(context.Background(), runtimeTimeout)
	defer cancel()
	if err := t.signalMembers(ctx, int(unix.SIGKILL)); err != nil {
		d.log.WithError(err).WithField("container", t.c.id).Warn("cannot kill what the container left behind")
	}
}

// releaseStreams makes the keeper close one stream of a process, or all with an empty name.
func (d *Daemon) releaseStreams(p *process, name string) {
	if p.record.Stdin == "" && !p.record.Terminal {
		return
	}
	err := d.keeper.do(func(ctx context.Context, k *keeper.Client) error { return k.Release(ctx, p.key, name) })
	if err != nil {
		d.log.WithError(err).WithField("process", p.String()).Warn("the keeper didn't release a stream")
	}
}

// sweep finds the processes that are gone without an exit having been handed over: it is called with each new connection to the
// keeper. What the ledger doesn't have either is unknown for good.
func (d *Daemon) sweep() {
	for pid, l := range d.exits.all() {
		if l.start == 0 || alive(pid, l.start) {
			continue // without a start time only the exits themselves can tell
		}
		exit, found, err := d.lookup(pid, l.start)
		if err != nil {
			d.log.WithError(err).WithField("pid", pid).Warn("cannot look up an exit")
			continue
		}
		if !d.exits.forget(pid, l.p) {
			continue // settled in the meantime
		}
		if found {
			d.exited(l.p, exit)
			continue
		}
		d.settle(l.p, unknownExit("the process ended while no keeper was its parent"), nil)
	}
}

// lookup asks the keeper's ledger for an exit.
func (d *Daemon) lookup(pid int, start uint64) (e keeper.Exit, found bool, err error) {
	err = d.keeper.do(func(ctx context.Context, k *keeper.Client) error {
		var err error
		e, found, err = k.Lookup(ctx, pid, start)
		return err
	})
	return e, found, err
}

// expect registers a new process for its exit. One that was gone already has its exit put by.
func (d *Daemon) expect(p *process, w *window) {
	p.mu.Lock()
	pid, start := p.pid, p.start
	p.mu.Unlock()
	if e := d.exits.expect(pid, liveProcess{p: p, start: start, since: w.since}); e != nil {
		d.exited(p, *e)
	}
}

// closeWindow ends the time in which a process was made.
func (d *Daemon) closeWindow(w *window) {
	for _, e := range w.close() {
		d.forgetExit(e)
	}
}

// awaitEnd waits until a process's exit is published, at most endBound.
func awaitEnd(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, endBound)
	defer cancel()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
