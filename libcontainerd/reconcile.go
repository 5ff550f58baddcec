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

// seen is what the record said before the daemon was asked. What the daemon
// says of it counts only while that still holds.
type seen struct {
	container *Container
	process   *process // the living init process, if any
	execs     []*process
	seq       uint64
	remains   bool
}

const (
	// lookAsked is how many processes are asked after at once: many, since each
	// that the daemon hangs over takes a place until its call ends.
	lookAsked = 64
	// readyAfter bounds how long containers that the daemon hangs over keep a
	// client from being ready.
	readyAfter = 2 * time.Second
)

// reconcile lists the daemon's tasks and makes up for the difference: ends
// that weren't seen, processes that nobody waits for yet, pauses, remains of
// failed starts. Only the list's failure is an error.
func (c *Client) reconcile(ctx context.Context) error {
	var before []seen
	for _, ctr := range c.List() {
		before = append(before, ctr.look())
	}
	tasks, err := c.daemon.Tasks(ctx)
	if err != nil {
		return err
	}
	patience := time.AfterFunc(readyAfter, c.becomeReady)
	defer patience.Stop()
	byID := make(map[string]Task, len(tasks))
	for _, t := range tasks {
		byID[t.ID] = t
	}
	work := []func(){c.unstoreStray}
	for _, s := range before {
		t, ok := byID[s.container.id]
		work = append(work, c.compare(ctx, s, t, ok)...)
	}
	var asking sync.WaitGroup
	slots := make(chan struct{}, lookAsked)
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

// look notes what the record says now.
func (ctr *Container) look() seen {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	s := seen{container: ctr, seq: ctr.rec.seq, remains: len(ctr.rec.remains) > 0}
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

// compare applies what the daemon listed of one container, and returns what
// has to be asked further. That a task is missing from the list, is another or
// has stopped is a hint only: a list may lack a task that answers slowly, and
// says less of an exit than the answer to a question.
func (c *Client) compare(ctx context.Context, s seen, t Task, listed bool) []func() {
	var work []func()
	if s.remains {
		work = append(work, func() { s.container.sweepRemains(ctx, s, listed) })
	}
	if s.process == nil {
		return work
	}
	ask := s.execs
	if listed && s.process.isTask(t) && (t.Status == TaskRunning || t.Status == TaskPaused) {
		s.container.frozen(s, t.Status)
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

// isTask tells whether a task is p's own as far as its pid says: one that could
// not be looked at has none, nor have some daemons' execs that ended.
func (p *process) isTask(t Task) bool {
	if p.id != InitProcess {
		return true
	}
	p.container.mu.Lock()
	defer p.container.mu.Unlock()
	return t.Pid <= 0 || t.Pid == p.pid
}

// frozen follows a pause or resume that someone else asked the daemon for,
// unless the record has moved on since it was looked at.
func (ctr *Container) frozen(s seen, now TaskStatus) {
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
	ctr.emitOrHalt(p, Event{Type: event, ProcessID: InitProcess, Pid: p.pid, Generation: p.generation, Recovered: true, Time: time.Now()})
}

// sweepRemains tries again to delete what failed starts left. A task that
// isn't listed is gone already.
func (ctr *Container) sweepRemains(ctx context.Context, s seen, listed bool) {
	if ctr.lockSweep(ctx) != nil {
		return // whoever has it sweeps
	}
	defer ctr.unlockSweep()
	ctr.mu.Lock()
	if ctr.rec.seq != s.seq || ctr.rec.status == StatusStarting || ctr.rec.status == StatusDeleting {
		ctr.mu.Unlock()
		return // a request is in flight, and sweeps itself
	}
	if !listed {
		ctr.rec.remains = nil
	}
	ctr.mu.Unlock()
	if err := ctr.sweepLocked(ctx); err != nil {
		ctr.client.logOf(ctr.id, InitProcess).WithError(err).Warn("remains at the runtime daemon; trying again later")
	}
}

// ask compares one process with what the daemon says of it.
func (c *Client) ask(ctx context.Context, p *process) {
	ctx, cancel := context.WithTimeout(ctx, c.options.callTimeout)
	defer cancel()
	s := p.container.look()
	t, err := c.daemon.Process(ctx, p.container.id, p.id)
	switch {
	case errdefs.IsNotFound(err):
		p.judge(unknownExit("the runtime daemon no longer has the process"))
	case err == nil && !p.isTask(t):
		p.judge(unknownExit(fmt.Sprintf("the runtime daemon has another process, with pid %d", t.Pid)))
	case err != nil:
		c.logOf(p.container.id, p.id).WithError(err).Warn("cannot ask the runtime daemon about a process; trying again later")
	case t.Status == TaskStopped:
		p.judge(t.Exit)
	case s.process == p:
		p.container.frozen(s, t.Status)
		c.askOOM(ctx, p)
	}
}

// askOOM looks at the counter of out-of-memory kills of a living container.
func (c *Client) askOOM(ctx context.Context, p *process) {
	stats, err := c.daemon.Stats(ctx, p.container.id)
	if err != nil || stats.OOMKills == 0 {
		return // its exit tells, at the latest
	}
	ctr := p.container
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	if p.state == processRunning {
		ctr.oomLocked(p, false)
	}
}

// ensureWatched has a restored process waited for from now on.
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

// reconcileDone is closed by the next reconcile.
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
