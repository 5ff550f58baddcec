package libcontainerd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// Run keeps the client in step with the daemon until ctx ends: it subscribes
// to the daemon's events, then lists the tasks and makes up for what it
// missed, then follows the events, and lists again from time to time; when the
// subscription is lost, all of it again, with growing delays.
//
// When ctx has ended it joins everything that the client started: waits are
// let go, events accepted so far are told once more each, and the streams of
// living processes are detached. Processes live on. The result is nil, or says
// what didn't end in time (WithShutdownTimeout): a callback that ignores its
// context. A client is Run once; after that its requests fail as Unavailable.
func (c *Client) Run(ctx context.Context) error {
	first := false
	c.started.Do(func() { first = true })
	if !first {
		return fmt.Errorf("a client can be run once only: %w", errdefs.ErrFailedPrecondition)
	}
	delay := newBackoff(c.options)
	for ctx.Err() == nil {
		s := newSession(c)
		err := s.run(ctx)
		if s.reconciled {
			delay = newBackoff(c.options)
		}
		if ctx.Err() == nil {
			c.options.log.WithError(err).Warn("lost the runtime daemon's events; subscribing again")
			_ = delay.Wait(ctx)
		}
	}
	return c.shutDown()
}

// shutDown joins what the client started.
func (c *Client) shutDown() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.endLife()
	c.watchers.Wait()
	err := c.closeQueue(c.options.shutdown)
	c.abandon()
	if err != nil {
		err = c.closeQueue(time.Second)
	}
	for _, ctr := range c.List() {
		ctr.detachStreams()
	}
	return err
}

func (c *Client) closeQueue(d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	if err := c.changes.Close(ctx); err != nil {
		return fmt.Errorf("callbacks did not end: %w", err)
	}
	return nil
}

// detachStreams lets go of the streams of all processes that aren't settled.
func (ctr *Container) detachStreams() {
	ctr.mu.Lock()
	open := map[*process]Streams{}
	for _, p := range ctr.rec.execs {
		open[p] = p.streams
	}
	if p := ctr.rec.init; p != nil {
		open[p] = p.streams
	}
	ctr.mu.Unlock()
	for p, streams := range open {
		if streams != nil && !p.isSettled() {
			p.cancel()
			detach(ctr.client, p, streams)
		}
	}
}

func detach(c *Client, p *process, s Streams) {
	if err := s.Detach(); err != nil {
		c.logOf(p.container.id, p.id).WithError(err).Warn("cannot let go of streams")
	}
}

// session is one subscription and what depends on it.
type session struct {
	client     *Client
	reconciled bool
	kick       chan struct{} // holds one: hints are there

	mu    sync.Mutex
	hints map[*process]time.Time // when to ask the daemon about a process

	asking sync.WaitGroup
}

func newSession(c *Client) *session {
	return &session{client: c, kick: make(chan struct{}, 1), hints: map[*process]time.Time{}}
}

// run subscribes, reconciles and follows until the subscription ends or ctx.
func (s *session) run(ctx context.Context) error {
	sub, err := s.client.daemon.Subscribe(ctx)
	if err != nil {
		return fmt.Errorf("cannot subscribe: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s.asking.Go(func() { cancel(s.read(ctx, sub)) })
	err = s.follow(ctx)
	cancel(err)
	err = errors.Join(err, sub.Close())
	s.asking.Wait()
	return err
}

// read turns events into hints, and never waits for anything else.
func (s *session) read(ctx context.Context, sub Subscription) error {
	for {
		e, err := sub.Next(ctx)
		if err != nil {
			return fmt.Errorf("the subscription ended: %w", err)
		}
		s.hint(e)
	}
}

// follow reconciles at once and then periodically, and looks after hints, also
// while a daemon that hangs over one container holds up the comparison.
func (s *session) follow(ctx context.Context) error {
	compared := make(chan error, 1)
	compare := func() { s.asking.Go(func() { compared <- s.reconcile(ctx) }) }
	compare()
	var next <-chan time.Time
	due := time.NewTimer(s.client.options.reconcileEvery)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-compared:
			if err != nil {
				return err
			}
			s.reconciled = true
			next = time.After(s.client.options.reconcileEvery)
		case <-next:
			next = nil
			compare()
		case <-s.kick:
			s.askDue(ctx, due)
		case <-due.C:
			s.askDue(ctx, due)
		}
	}
}

func (s *session) reconcile(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.client.options.callTimeout)
	defer cancel()
	if err := s.client.reconcile(ctx); err != nil {
		return fmt.Errorf("cannot compare with the daemon's tasks: %w", err)
	}
	s.client.becomeReady()
	return nil
}

// hint notes that an event contradicts what the record says. The daemon is
// asked before anything is believed: events may be late, wrong or repeated. An
// end is left to the process's own Wait for a while.
func (s *session) hint(e DaemonEvent) {
	ctr, err := s.client.Get(e.ContainerID)
	if err != nil {
		return
	}
	p, status := ctr.hinted(e)
	if p == nil {
		return
	}
	at := time.Now()
	switch e.Type {
	case DaemonExit, DaemonDeleted:
		at = at.Add(s.client.options.hintGrace)
	case DaemonPaused:
		if status == StatusPaused {
			return
		}
	case DaemonResumed:
		if status == StatusRunning {
			return
		}
	case DaemonOOM:
	case DaemonStarted, DaemonExecAdded, DaemonExecStarted:
		return
	}
	s.mu.Lock()
	if old, ok := s.hints[p]; !ok || at.Before(old) {
		s.hints[p] = at
	}
	s.mu.Unlock()
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// hinted is the living process that an event tells of, if there is one: the
// pid tells it from earlier ones.
func (ctr *Container) hinted(e DaemonEvent) (*process, Status) {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	p := ctr.rec.init
	if e.ProcessID != InitProcess && e.ProcessID != "" {
		p = ctr.rec.execs[e.ProcessID]
	}
	if p == nil || p.state != processRunning || (e.Pid != 0 && p.pid != e.Pid) {
		return nil, 0
	}
	return p, ctr.rec.status
}

// askDue asks about the processes whose hints are due, each on a goroutine of
// its own, so that one that hangs holds up no other, and sets next for the
// rest.
func (s *session) askDue(ctx context.Context, next *time.Timer) {
	now := time.Now()
	var soonest time.Time
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, at := range s.hints {
		switch {
		case p.live.Err() != nil:
			delete(s.hints, p)
		case !at.After(now):
			delete(s.hints, p)
			s.asking.Go(func() { s.client.ask(ctx, p) })
		case soonest.IsZero() || at.Before(soonest):
			soonest = at
		}
	}
	if !soonest.IsZero() {
		next.Reset(soonest.Sub(now))
	}
}
