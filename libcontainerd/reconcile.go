package libcontainerd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// snapshot is the state of a record before the daemon was asked. The daemon's answer is applied only if the record
// hasn't changed since.
type snapshot struct {
	container *Container
	process   *process // the living init process, if any
	execs     []*process
	seq       uint64
	leftovers bool
}

const (
	// maxAsked is how many processes the daemon is asked for at the same time. It is large because each call that
	// hangs takes one of the places until it times out.
	maxAsked = 64
	// readyAfter bounds how long the client waits, before it is ready, for a daemon that doesn't answer for a
	// container.
	readyAfter = 2 * time.Second
)

// reconcile lists the daemon's tasks and makes up for the differences to the records: it records exits that were
// missed, starts to wait for restored processes, follows pauses, and deletes leftovers of failed starts. The only
// error is that of the list.
func (c *Client) reconcile(ctx context.Context) error {
	var before []snapshot
	for _, ctr := range c.List() {
		before = append(before, ctr.snapshot())
	}
	tasks, err := c.daemon.Tasks(ctx)
	if err != nil {
		return err
	}
	readyTimer := time.AfterFunc(readyAfter, c.becomeReady)
	defer readyTimer.Stop()
	byID := make(map[string]Task, len(tasks))
	for _, t := range tasks {
		byID[t.ID] = t
	}
	work := []func(){c.clearLeftovers}
	for _, s := range before {
		t, ok := byID[s.container.id]
		work = append(work, c.compare(ctx, s, t, ok)...)
	}
	var asking sync.WaitGroup
	slots := make(chan struct{}, maxAsked)
	for _, fn := range work {
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			fn()
		})
	}
	asking.Wait()
	c.announceReconciled()
	return nil
}

// snapshot returns the state of the record now.
func (ctr *Container) snapshot() snapshot {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	s := snapshot{container: ctr, seq: ctr.rec.seq, leftovers: len(ctr.rec.leftovers) > 0}
	if p := ctr.rec.init; p != nil && p.state == processRunning {
		s.process = p
	}
	for _, id := range slices.Sorted(maps.Keys(ctr.rec.execs)) {
		if p := ctr.rec.execs[id]; p.state == processRunning {
			s.execs = append(s.execs, p)
		}
	}
	return s
}

// compare applies the daemon's list to one container, and returns the calls that are needed beside the list. A task
// that is missing from the list, has another pid or has stopped is a hint only: a list may lack a task whose shim
// answers slowly, and its exits lack OOMKilled.
func (c *Client) compare(ctx context.Context, s snapshot, t Task, listed bool) []func() {
	var work []func()
	if s.leftovers {
		work = append(work, func() { s.container.sweepLeftovers(ctx, s, listed) })
	}
	if s.process == nil {
		return work
	}
	ask := s.execs
	if listed && s.process.isTask(t) && (t.Status == TaskRunning || t.Status == TaskPaused) {
		s.container.followPause(s, t.Status)
		c.ensureWatched(s.process)
	} else {
		ask = append(ask, s.process)
	}
	for _, p := range ask {
		work = append(work, func() {
			c.ask(ctx, p)
			c.ensureWatched(p)
		})
	}
	return work
}

// isTask reports whether the pid of a task is p's. A task without a pid passes: the daemon may not have been able
// to read it, and some daemons report none for an exec that has exited.
func (p *process) isTask(t Task) bool {
	if p.id != InitProcess {
		return true
	}
	p.container.mu.Lock()
	defer p.container.mu.Unlock()
	return t.Pid <= 0 || t.Pid == p.pid
}

// followPause records a pause or resume that another client of the daemon asked for, unless the record has changed
// since the snapshot.
func (ctr *Container) followPause(s snapshot, now TaskStatus) {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	if ctr.rec.seq != s.seq {
		return
	}
	to, event := StatusRunning, EventResumed
	if now == TaskPaused {
		to, event = StatusPaused, EventPaused
	}
	if was := ctr.rec.status; was == to || (was != StatusRunning && was != StatusPaused) {
		return
	}
	ctr.rec.transition(to)
	p := s.process
	ctr.emitOrHalt(p, Event{Type: event, ProcessID: InitProcess, Pid: p.pid, Generation: p.generation,
		Recovered: true, Time: time.Now()})
}

// sweepLeftovers tries again to delete what failed starts left at the daemon. A task that isn't listed is gone
// already.
func (ctr *Container) sweepLeftovers(ctx context.Context, s snapshot, listed bool) {
	if ctr.lockSweep(ctx) != nil {
		return // another sweep is in progress
	}
	defer ctr.unlockSweep()
	ctr.mu.Lock()
	if ctr.rec.seq != s.seq || ctr.rec.status == StatusStarting || ctr.rec.status == StatusDeleting {
		ctr.mu.Unlock()
		return // a request is in progress, and sweeps itself
	}
	if !listed {
		ctr.rec.leftovers = nil
	}
	ctr.mu.Unlock()
	if err := ctr.sweepLocked(ctx); err != nil {
		ctr.client.logOf(ctr.id, InitProcess).Warn("cannot delete the leftover of a failed start at the runtime daemon; trying again later",
			"error", err)
	}
}

// ask asks the daemon for the state of one process, and compares it with the record.
func (c *Client) ask(ctx context.Context, p *process) {
	ctx, cancel := context.WithTimeout(ctx, c.options.callTimeout)
	defer cancel()
	s := p.container.snapshot()
	t, err := c.daemon.Process(ctx, p.container.id, p.id)
	switch {
	case errdefs.IsNotFound(err):
		p.endFound(unknownExit("the runtime daemon no longer has the process"))
	case err == nil && !p.isTask(t):
		p.endFound(unknownExit(fmt.Sprintf("the runtime daemon has another process, with pid %d", t.Pid)))
	case err != nil:
		c.logOf(p.container.id, p.id).Warn("the runtime daemon did not report the state of a process; trying again later",
			"error", err)
	case t.Status == TaskStopped:
		p.endFound(t.Exit)
	case s.process == p:
		p.container.followPause(s, t.Status)
		c.askOOM(ctx, p)
	}
}

// askOOM reads the counter of out-of-memory kills of a running container.
func (c *Client) askOOM(ctx context.Context, p *process) {
	stats, err := c.daemon.Stats(ctx, p.container.id)
	if err != nil || stats.OOMKills == 0 {
		return // the exit says it, at the latest
	}
	ctr := p.container
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	if p.state == processRunning {
		ctr.oomLocked(p, false)
	}
}

// ensureWatched starts to wait for the exit of a restored process.
func (c *Client) ensureWatched(p *process) {
	ctr := p.container
	ctr.mu.Lock()
	need := !p.watching
	p.watching = true
	ctr.mu.Unlock()
	if need {
		c.watch(p)
	}
}

// reconcileDone returns a channel that the next reconcile closes.
func (c *Client) reconcileDone() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reconciled
}

func (c *Client) announceReconciled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.reconciled)
	c.reconciled = make(chan struct{})
}
