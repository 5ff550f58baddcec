package libcontainerd

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// ended records how p ended. Only the first end of a process counts. An end that is known before the start has
// returned is held until then.
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

// endLocked makes the transition to ended. The caller holds mu, and p is running.
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
		ctr.rec.rememberEnded(p.id)
	}
	e.Exit = p.exit
	ctr.emitOrHalt(p, e)
}

// oomBeforeExitLocked makes EventOOM come before the exit, if the exit says that the kernel killed a process
// because memory ran out, and sets OOMKilled in the exit if EventOOM came before.
func (ctr *Container) oomBeforeExitLocked(p *process, recovered bool) {
	if p.exit.OOMKilled {
		ctr.oomLocked(p, recovered)
	}
	p.exit.OOMKilled = p.oomEmitted
}

// oomLocked emits EventOOM, once per generation. The caller holds mu.
func (ctr *Container) oomLocked(p *process, recovered bool) {
	if p.oomEmitted {
		return
	}
	p.oomEmitted = true
	ctr.emitOrHalt(p, Event{Type: EventOOM, ProcessID: InitProcess, Pid: p.pid, Generation: p.generation,
		Recovered: recovered, Time: time.Now()})
}

// rememberEnded keeps an exec that has exited, and forgets the oldest beyond keptExecs.
func (r *record) rememberEnded(id string) {
	r.ended = append(r.ended, id)
	if len(r.ended) > keptExecs {
		delete(r.execs, r.ended[0])
		r.ended = r.ended[1:]
	}
}

// awaitExecs waits for the exits of a container's execs, which come before the exit of the init process. The kernel
// has killed the execs with the init process of their pid namespace, see pid_namespaces(7), or else the daemon has.
// awaitExecs returns false if the client shuts down meanwhile: the next client finds the exits.
func (ctr *Container) awaitExecs(init *process) bool {
	var late sync.WaitGroup
	for _, p := range ctr.livingExecs(init.generation) {
		late.Go(p.endWithInit)
	}
	late.Wait()
	return ctr.client.active.Err() == nil
}

// maxExecAsked is how often the daemon is asked for the state of an exec whose container has exited, if each answer
// is an error. The container's exit waits meanwhile.
const maxExecAsked = 3

// endWithInit waits for the exit of an exec whose container has exited. If the exit isn't known within the exec
// grace, the daemon is asked for the state of the exec: again and again while it can't be reached, and maxExecAsked
// times if it answers with an error. If the daemon doesn't know the exit, the exit is unknown.
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
		case err != nil && !errdefs.IsNotFound(err) && failed < maxExecAsked-1:
			failed++
			_ = delay.Wait(p.live)
		case err == nil && t.Status == TaskStopped:
			p.container.ended(p, ending{exit: t.Exit, recovered: true})
		default:
			p.container.ended(p, ending{exit: unknownExit(
				"the container ended, and the runtime daemon said nothing of this process")})
		}
	}
}

// livingExecs returns the execs whose exit isn't known. From then on new execs of this generation are refused.
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
