package libcontainerd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// Run keeps the client in step with the daemon until ctx ends. It subscribes to the daemon's events, lists the
// tasks, and makes up for the changes that it missed; then it follows the events, and lists the tasks again from
// time to time. When the subscription ends, Run begins anew, with growing delays.
//
// When ctx has ended, Run waits for all goroutines that the client started: calls of the daemon's Wait end, each
// event that is still queued is delivered with one more try, and the streams of running processes are detached. The
// processes run on. Run returns nil, or an error if a callback ignored its context and did not return within
// WithShutdownTimeout.
//
// A client can be Run once; a second Run fails with FailedPrecondition. After Run all requests fail with
// Unavailable.
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
			c.options.log.Warn("lost the runtime daemon's events; subscribing again", "error", err)
			_ = delay.Wait(ctx)
		}
	}
	return c.shutDown()
}

// shutDown waits for the goroutines that the client started.
func (c *Client) shutDown() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.endActive()
	c.watchers.Wait()
	err := c.closeQueue(c.options.shutdown)
	c.endFinal()
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

// detachStreams detaches the streams of all processes that aren't settled.
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
		c.logOf(p.container.id, p.id).Warn("cannot detach the streams of a process", "error", err)
	}
}

// session is one subscription, with its hints and the goroutines that follow it up.
type session struct {
	client     *Client
	reconciled bool
	wake       chan struct{} // holds one item if there are new hints

	mu    sync.Mutex
	hints map[*process]time.Time // when to ask the daemon about a process

	asking sync.WaitGroup
}

func newSession(c *Client) *session {
	return &session{client: c, wake: make(chan struct{}, 1), hints: map[*process]time.Time{}}
}

// run subscribes, reconciles and follows the events until the subscription or ctx ends.
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

// read turns events into hints. It waits for nothing but the next event.
func (s *session) read(ctx context.Context, sub Subscription) error {
	for {
		e, err := sub.Next(ctx)
		if err != nil {
			return fmt.Errorf("the subscription ended: %w", err)
		}
		s.hint(e)
	}
}

// follow reconciles at once and then periodically. Meanwhile it acts on hints, even while a reconcile waits because
// the daemon doesn't answer for one container.
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
		case <-s.wake:
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

// hint notes that an event contradicts the record. The daemon is asked before the record changes, since events may
// be late, wrong or repeated. After an event of an exit the daemon is asked later, so that the process's Wait can
// return before.
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
	case s.wake <- struct{}{}:
	default:
	}
}

// hinted returns the running process that an event is about, if there is one. The pid in the event excludes earlier
// processes with the same id.
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

// askDue asks the daemon for the processes whose hints are due, each in a goroutine of its own, so that a call that
// hangs delays no other. It sets next to the time of the first hint that isn't due yet.
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
