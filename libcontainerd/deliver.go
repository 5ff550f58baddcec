package libcontainerd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/span"
)

// change is one item of a container's queue: an event, and the process it is about.
type change struct {
	container *Container
	process   *process
	event     Event
	taken     chan struct{} // closed once the backend has taken the event; nil if nobody waits for that
}

// maxPanics is how often the callback of one event may panic. After that the event is dropped.
const maxPanics = 5

// emit puts an event into the container's queue. The caller holds mu, so that the events have the order of the
// transitions.
func (ctr *Container) emit(p *process, e Event) error { return ctr.enqueue(change{ctr, p, e, nil}) }

// emitAwaited is emit for an event that the caller waits for, with awaitTaken and without mu.
func (ctr *Container) emitAwaited(p *process, e Event) (taken <-chan struct{}, err error) {
	done := make(chan struct{})
	return done, ctr.enqueue(change{ctr, p, e, done})
}

func (ctr *Container) enqueue(ch change) error {
	ch.event.ContainerID = ctr.id
	if err := ctr.client.changes.Append(ctr.id, ch); err != nil {
		ctr.rec.halted = true
		return errShutdown("record a change of container", ctr.id)
	}
	return nil
}

// ErrNotTaken is wrapped by the error of a request that has been done, and whose event the backend has not taken yet.
var ErrNotTaken = errors.New("the backend has not taken the event yet")

// awaitTaken waits until the backend has taken an event. It fails, with ErrNotTaken, when ctx ends or the client shuts
// down before.
func (ctr *Container) awaitTaken(ctx context.Context, taken <-chan struct{}) error {
	if err := awaitClosed(ctx, ctr.client.active, taken); err != nil {
		return fmt.Errorf("%w: %w", ErrNotTaken, err)
	}
	return nil
}

// awaitClosed waits until done is closed, which counts also where a context has ended too. The error is the cause of
// ctx, or Unavailable if ending, a context of the client, ends before.
func awaitClosed(ctx, ending context.Context, done <-chan struct{}) error {
	select {
	case <-done:
	case <-ctx.Done():
	case <-ending.Done():
	}
	select {
	case <-done:
		return nil
	default:
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("the client is shutting down: %w", errdefs.ErrUnavailable)
}

// emitOrHalt is emit for a change that can't be undone. If the queue is closed, the container is halted, and the
// next client finds the change.
func (ctr *Container) emitOrHalt(p *process, e Event) {
	if err := ctr.emit(p, e); err != nil {
		ctr.client.logOf(ctr.id, p.id).Debug("the client shuts down and does not deliver this change; the next client finds it",
			"error", err)
	}
}

// handleChange is the queue's handler. It delivers the event, and frees the process if the event was its exit. If
// the client shuts down before the backend has taken the event, the container is halted, so that no later event
// overtakes this one. The daemon keeps a process that has exited for the next client.
func (c *Client) handleChange(_ string, ch change) {
	if ch.container.halted() {
		return
	}
	if !c.deliver(ch) {
		ch.container.halt()
		return
	}
	c.conclude(ch)
}

// callbackExited is called by the queue when a callback has ended its goroutine. Nobody knows what the callback did
// with the event, so the event counts as taken.
func (c *Client) callbackExited(_ string, ch change, recovered any, stack []byte) {
	c.logOf(ch.container.id, ch.event.ProcessID).Error("a callback did not return; its event counts as taken",
		"event", ch.event.Type, "error", recovered, "stack", string(stack))
	c.conclude(ch)
}

// conclude does what follows when the backend has taken an event.
func (c *Client) conclude(ch change) {
	if ch.taken != nil {
		close(ch.taken)
	}
	if t := ch.event.Type; t == EventExit || t == EventExitProcess {
		c.free(ch.process)
	}
}

// deliver calls the backend until the backend takes the event. It returns false if the client shut down before.
func (c *Client) deliver(ch change) bool {
	log := c.logOf(ch.container.id, ch.event.ProcessID).With("event", ch.event.Type)
	panics := 0
	ctx, s := span.Start(span.Within(c.final, ch.process.request), string(ch.event.Type))
	defer func() { s.End(nil) }()
	for delay := newBackoff(c.options); ; {
		err := catchPanic(func() error { return c.backend.StateChanged(ctx, ch.event) })
		if err == nil {
			return true
		}
		var p *panicError
		if errors.As(err, &p) {
			panics++
			log = log.With("stack", string(p.stack))
		}
		if panics >= maxPanics {
			log.Error("the callback panicked too often; the event is dropped", "error", err)
			return true
		}
		log.Warn("the backend did not take the event; trying again", "error", err)
		if delay.Wait(c.active) != nil {
			return false
		}
	}
}

// attach hands the streams of p to the backend.
func (c *Client) attach(ctx context.Context, p *process, s Streams, restored bool) error {
	all := ProcessStreams{Streams: s, ContainerID: p.container.id, ProcessID: p.id, Restored: restored}
	if err := catchPanic(func() error { return c.backend.AttachStreams(ctx, all) }); err != nil {
		return fmt.Errorf("cannot attach its streams: %w", err)
	}
	return nil
}

// free does what follows a process's exit: it has the backend drain the output, lets the callers of Wait return,
// deletes the process at the daemon and closes the streams. If the daemon copies the output, the delete comes
// first, since only that completes the output. If an exec can't be deleted now, a later reconcile deletes it, so
// that the container's next events aren't delayed.
func (c *Client) free(p *process) {
	freed := c.copiesOutput() && c.freeTask(p)
	p.streams.ExitKnown()
	if !p.drained {
		p.drained = true // now, since the callback may end this goroutine
		c.drain(p)
	}
	close(p.taken)
	for delay := newBackoff(c.options); !freed && !c.freeTask(p); {
		if p.id != InitProcess {
			p.container.mu.Lock()
			p.container.rec.addLeftover(p.id)
			p.container.mu.Unlock()
			break
		}
		if delay.Wait(c.active) != nil {
			return
		}
	}
	c.closeStreams(p, p.streams)
	p.container.forgetRunExec(p, func() { close(p.settled) })
}

func (c *Client) copiesOutput() bool {
	d, ok := c.daemon.(Copier)
	return ok && d.CopiesOutput()
}

func (c *Client) drain(p *process) {
	d, ok := c.backend.(Drainer)
	if !ok {
		return
	}
	ctx, s := span.Start(span.Within(c.final, p.request), "drain")
	err := catchPanic(func() error { return d.DrainStreams(ctx, p.container.id, p.id) })
	s.End(err)
	if err != nil {
		c.logOf(p.container.id, p.id).Warn("the backend did not drain the output of an ended process", "error", err)
	}
}

func (c *Client) freeTask(p *process) bool {
	ctx, cancel := c.bounded()
	defer cancel()
	err := c.destroy(span.Within(ctx, p.request), p.container.id, p.id)
	if err != nil {
		c.logOf(p.container.id, p.id).Warn("cannot delete an ended process at the runtime daemon; trying again",
			"error", err)
	}
	return err == nil
}

func (c *Client) closeStreams(p *process, s Streams) {
	if err := s.Close(); err != nil {
		c.logOf(p.container.id, p.id).Warn("cannot close the streams of a process", "error", err)
	}
}

func (ctr *Container) halted() bool {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	return ctr.rec.halted
}

func (ctr *Container) halt() {
	ctr.mu.Lock()
	ctr.rec.halted = true
	ctr.mu.Unlock()
}

// panicError is the error of a callback that panicked.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("callback panicked: %v", e.value) }

// catchPanic calls fn, and returns a panic of fn as an error.
func catchPanic(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	return fn()
}

func (c *Client) logOf(id, process string) *slog.Logger {
	return c.options.log.With("container", id, "process", process)
}
