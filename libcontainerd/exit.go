package libcontainerd

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// ended records how p ended. Only the first end of a process counts; one that
// comes before its start returned is held until then.
func (ctr *Container) ended(p *process, end ending) {
	ctr.mu.Lock()
	streams := p.streams
	switch {
	case p.state == processEnded:
		streams = nil
	case p.state == processStarting:
		p.held, streams = &end, nil
	default:
		ctr.endLocked(p, end)
	}
	ctr.mu.Unlock()
	if streams != nil && !ctr.client.copiesOutput() {
		streams.ExitKnown()
	}
}

// endLocked makes the transition to ended: the caller holds mu, p is running.
func (ctr *Container) endLocked(p *process, end ending) {
	p.state, p.exit = processEnded, end.exit
	p.cancel()
	if p.exit.Time.IsZero() {
		p.exit.Time = time.Now()
	}
	e := Event{Type: EventExitProcess, ProcessID: p.id, Pid: p.pid, Generation: p.generation,
		Recovered: end.recovered, Time: p.exit.Time}
	if p.id == InitProcess {
		e.Type = EventExit
		ctr.oomBeforeExitLocked(p, end.recovered)
		ctr.rec.transition(StatusStopped)
	} else {
		ctr.rec.forget(p.id)
	}
	e.Exit = p.exit
	ctr.emitOrHalt(p, e)
}

// oomBeforeExitLocked keeps the promise that an out-of-memory kill is told
// before or with the exit: in fact both.
func (ctr *Container) oomBeforeExitLocked(p *process, recovered bool) {
	if p.exit.OOMKilled {
		ctr.oomLocked(p, recovered)
	}
	p.exit.OOMKilled = p.oomTold
}

// oomLocked tells of an out-of-memory kill, once per generation.
func (ctr *Container) oomLocked(p *process, recovered bool) {
	if p.oomTold {
		return
	}
	p.oomTold = true
	ctr.emitOrHalt(p, Event{Type: EventOOM, ProcessID: InitProcess, Pid: p.pid, Generation: p.generation,
		Recovered: recovered, Time: time.Now()})
}

// forget notes that an exec ended, and drops the oldest beyond keptExecs.
func (r *record) forget(id string) {
	r.ended = append(r.ended, id)
	if len(r.ended) > keptExecs {
		delete(r.execs, r.ended[0])
		r.ended = r.ended[1:]
	}
}

// awaitExecs makes the exits of a container's execs come before its own: the
// kernel (or the daemon) has ended them with the init process, and their own
// waits tell how. It is false when the client shuts down meanwhile: then the
// next one tells all of it.
func (ctr *Container) awaitExecs(init *process) bool {
	var late sync.WaitGroup
	for _, p := range ctr.livingExecs(init.generation) {
		late.Go(p.endWithInit)
	}
	late.Wait()
	return ctr.client.life.Err() == nil
}

// execAsked is how often a daemon that fails to answer is asked after an exec whose
// container has ended: that one's exit waits for it.
const execAsked = 3

// endWithInit waits for the end of an exec whose container has ended. If
// nothing is heard of it in time the daemon is asked, as long as it can't be
// reached again and again, and execAsked times where it fails to answer; what it
// doesn't know then is unknown.
func (p *process) endWithInit() {
	c := p.container.client
	if endsWithin(p.live, c.options.execGrace) {
		return
	}
	failed := 0
	for delay := newBackoff(c.options); p.live.Err() == nil; {
		ctx, cancel := context.WithTimeout(p.live, c.options.callTimeout)
		t, err := c.daemon.Process(ctx, p.container.id, p.id)
		cancel()
		switch {
		case p.live.Err() != nil:
		case errdefs.IsUnavailable(err):
			_ = delay.Wait(p.live)
		case err != nil && !errdefs.IsNotFound(err) && failed < execAsked-1:
			failed++
			_ = delay.Wait(p.live)
		case err == nil && t.Status == TaskStopped:
			p.container.ended(p, ending{exit: t.Exit, recovered: true})
		default:
			p.container.ended(p, ending{exit: unknownExit("the container ended, and the runtime daemon said nothing of this process")})
		}
	}
}

// livingExecs closes the container to new execs of this generation and returns
// those whose end isn't known.
func (ctr *Container) livingExecs(generation uint64) []*process {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	ctr.rec.sealed = generation
	var living []*process
	for _, p := range ctr.rec.execs {
		if p.state == processRunning {
			living = append(living, p)
		}
	}
	return living
}
