package libcontainerd

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/internal/span"
)

// change is one item of a container's queue.
type change struct {
	container *Container
	process   *process
	event     Event
}

// patience is how often a callback may panic over one event.
const patience = 5

// emit puts an event into the container's queue. The caller holds mu, so that
// events stand in the order of the transitions.
func (ctr *Container) emit(p *process, e Event) error {
	e.ContainerID = ctr.id
	if err := ctr.client.changes.Append(ctr.id, change{ctr, p, e}); err != nil {
		ctr.rec.halted = true
		return errShutdown("tell of container", ctr.id)
	}
	return nil
}

// emitOrHalt is emit for what can't be taken back: without a queue the
// container is halted, and the next client finds the change.
func (ctr *Container) emitOrHalt(p *process, e Event) {
	if err := ctr.emit(p, e); err != nil {
		ctr.client.logOf(ctr.id, p.id).WithError(err).Debug("an event is left to the next client")
	}
}

// deliver is the queue's handler: it tells the backend, again and again until
// it is taken, and frees what has ended then. When the client shuts down, an
// event that isn't taken halts its container, so that no later one overtakes
// it; the daemon keeps an ended process for the next client.
func (c *Client) deliver(_ string, ch change) {
	if ch.container.halted() {
		return
	}
	if !c.tell(ch) {
		ch.container.halt()
		return
	}
	c.conclude(ch)
}

// deliveryDied is told by the queue of a callback that ended its goroutine.
// The event counts as taken: what the callback did of it is unknown.
func (c *Client) deliveryDied(_ string, ch change, recovered any, stack []byte) {
	c.logOf(ch.container.id, ch.event.ProcessID).WithField("stack", string(stack)).
		Errorf("a callback did not return, its event %v counts as taken: %v", ch.event.Type, recovered)
	c.conclude(ch)
}

// conclude is what follows once an event was taken.
func (c *Client) conclude(ch change) {
	if t := ch.event.Type; t == EventExit || t == EventExitProcess {
		c.free(ch.process)
	}
}

// tell calls the backend until it takes the event; false when the client shut
// down before.
func (c *Client) tell(ch change) bool {
	log := c.logOf(ch.container.id, ch.event.ProcessID).WithField("event", ch.event.Type)
	panics := 0
	ctx, s := span.Start(span.Within(c.hard, ch.process.request), ch.event.Type.String())
	defer func() { s.End(nil) }()
	for delay := newBackoff(c.options); ; {
		err := contain(func() error { return c.backend.StateChanged(ctx, ch.event) })
		if err == nil {
			return true
		}
		var p *panicError
		if errors.As(err, &p) {
			panics++
			log = log.WithField("stack", string(p.stack))
		}
		if panics >= patience {
			log.WithError(err).Error("a callback panicked too often: its event is dropped")
			return true
		}
		log.WithError(err).Warn("an event was not taken; trying again")
		if delay.Wait(c.life) != nil {
			return false
		}
	}
}

// attach hands streams to the backend.
func (c *Client) attach(ctx context.Context, p *process, s Streams) error {
	err := contain(func() error { return c.backend.AttachStreams(ctx, p.container.id, p.id, s) })
	if err != nil {
		return fmt.Errorf("cannot attach its streams: %w", err)
	}
	return nil
}

// free has the rest of an ended process's output drained, lets go of those who
// wait for the process, deletes it at the daemon and closes its streams. Where
// the daemon copies output, only the delete makes it complete, so it comes
// first. An exec that can't be deleted now is left to the reconcile, lest it
// delay the container's further events.
func (c *Client) free(p *process) {
	freed := c.copiesOutput() && c.freeTask(p)
	p.streams.ExitKnown()
	if !p.drained {
		p.drained = true // also where the callback ends its goroutine
		c.drain(p)
	}
	close(p.taken)
	for delay := newBackoff(c.options); !freed && !c.freeTask(p); {
		if p.id != InitProcess {
			p.container.mu.Lock()
			p.container.rec.leave(p.id)
			p.container.mu.Unlock()
			break
		}
		if delay.Wait(c.life) != nil {
			return
		}
	}
	c.closeStreams(p, p.streams)
	p.container.unkeep(p, func() { close(p.settled) })
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
	ctx, s := span.Start(span.Within(c.hard, p.request), "drain")
	err := contain(func() error { return d.DrainStreams(ctx, p.container.id, p.id) })
	s.End(err)
	if err != nil {
		c.logOf(p.container.id, p.id).WithError(err).Warn("the rest of the output was not drained")
	}
}

func (c *Client) freeTask(p *process) bool {
	ctx, cancel := c.bounded()
	defer cancel()
	err := c.destroy(span.Within(ctx, p.request), p.container.id, p.id)
	if err != nil {
		c.logOf(p.container.id, p.id).WithError(err).Warn("cannot delete an ended process at the runtime daemon; trying again")
	}
	return err == nil
}

func (c *Client) closeStreams(p *process, s Streams) {
	if err := s.Close(); err != nil {
		c.logOf(p.container.id, p.id).WithError(err).Warn("cannot close streams")
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

// panicError is a panic of the backend as an error.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("callback panicked: %v", e.value) }

// contain calls fn and returns its panic as an error.
func contain(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	return fn()
}

func (c *Client) logOf(id, process string) *logrus.Entry {
	return c.options.log.WithFields(logrus.Fields{"container": id, "process": process})
}
