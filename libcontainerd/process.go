package libcontainerd

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	"go.opentelemetry.io/otel/trace"
)

// processState is how far a process has come. Its exit is known in
// processEnded only.
type processState int

const (
	processStarting processState = iota
	processRunning
	processEnded
)

// process is one generation of a container's init process, or one exec.
type process struct {
	container  *Container
	id         string
	generation uint64
	config     StdioConfig

	// live ends with the process: what runs on its behalf ends too.
	live   context.Context
	cancel context.CancelFunc

	// request is the span of the request that started it; nil where nobody records.
	request trace.Span

	taken   chan struct{} // closed once the backend has taken the exit, or the start has failed
	settled chan struct{} // closed once nothing is left at the daemon and of the streams
	watched chan struct{} // closed when watch has returned

	// Guarded by the container's mu.
	state   processState
	pid     int
	streams Streams
	// stdinWished is a CloseStdin, which may come before the streams are there.
	stdinWished bool
	held        *ending // an exit that came before start returned
	exit        Exit
	failure     error // why the start failed
	// returned says that this exec was RunExec's, which has returned.
	returned bool
	oomTold  bool
	watching bool
	warnings []string

	// verdict takes one end that comparing found; waiting, the context of the
	// Wait in flight, ends with it.
	verdict  chan ending
	drained  bool // of the queue's goroutine only
	waiting  context.Context
	stopWait context.CancelFunc
}

// ending is an exit, and whether it was found by comparing states.
type ending struct {
	exit      Exit
	recovered bool
}

func newProcess(ctr *Container, id string, generation uint64, cfg StdioConfig) *process {
	cfg.ContainerID, cfg.ProcessID, cfg.Keep = ctr.id, id, ctr.client.options.noClean
	if cfg.UID == 0 && cfg.GID == 0 {
		cfg.UID, cfg.GID = int(ctr.options.UID), int(ctr.options.GID)
	}
	p := &process{
		container: ctr, id: id, generation: generation, config: cfg,
		taken: make(chan struct{}), settled: make(chan struct{}), watched: make(chan struct{}),
		verdict: make(chan ending, 1),
	}
	p.live, p.cancel = context.WithCancel(ctr.client.life)
	p.waiting, p.stopWait = context.WithCancel(p.live)
	return p
}

// result is how the process ended, for those who wait; taken is closed.
func (p *process) result() (Exit, error) {
	p.container.mu.Lock()
	defer p.container.mu.Unlock()
	return p.exit, p.failure
}

// judge hands an end that comparing found to the goroutine that watches p,
// which is the only one that records exits. The first one counts.
func (p *process) judge(e Exit) {
	select {
	case p.verdict <- ending{exit: e, recovered: true}:
		p.stopWait()
	default:
	}
}

// watch waits for the end of p and records it. It ends with the process, or
// with p.live.
func (p *process) watch() {
	defer close(p.watched)
	end, ok := p.await()
	if ok && p.id == InitProcess {
		ok = p.container.awaitExecs(p)
	}
	if ok {
		p.container.ended(p, end)
	}
}

// await asks the daemon until it knows: not ok means that nobody wants to know
// any more.
func (p *process) await() (ending, bool) {
	c, retried := p.container.client, false
	for delay := newBackoff(c.options); ; {
		reconciled := c.reconcileDone()
		select {
		case end := <-p.verdict:
			return end, true
		default:
		}
		begun := time.Now()
		exit, err := c.daemon.Wait(p.waiting, p.container.id, p.id)
		end := ending{exit: exit, recovered: retried && exit.Time.Before(begun)}
		select {
		case judged := <-p.verdict:
			return end.or(judged, err == nil), true
		default:
		}
		switch {
		case err == nil:
			return end, true
		case p.live.Err() != nil:
			return ending{}, false
		case errdefs.IsNotFound(err):
			return ending{exit: unknownExit("the runtime daemon no longer has the process"), recovered: true}, true
		}
		retried = true
		p.pauseWait(delay.Next(), reconciled)
	}
}

// or is what is known of an end that a Wait told of (if it did) and comparing
// found too: a status that one of them knows, and a kill for want of memory.
func (e ending) or(judged ending, waited bool) ending {
	if !waited || e.exit.Unknown != "" {
		return judged
	}
	e.exit.OOMKilled = e.exit.OOMKilled || judged.exit.OOMKilled
	return e
}

// pauseWait lets time pass after a Wait that failed; a reconcile ends the pause
// early.
func (p *process) pauseWait(d time.Duration, reconciled <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-reconciled:
	case <-p.waiting.Done():
	}
}

func unknownExit(reason string) Exit {
	return Exit{Unknown: reason, Time: time.Now()}
}

// closeIO tells the daemon that p's stdin ends, until it has been told or p
// has ended.
func (p *process) closeIO() error {
	c := p.container.client
	for delay := newBackoff(c.options); ; {
		err := c.daemon.CloseIO(p.live, p.container.id, p.id)
		if err == nil || errdefs.IsNotFound(err) || p.live.Err() != nil {
			return nil
		}
		c.logOf(p.container.id, p.id).WithError(err).Warn("cannot close stdin now; trying again")
		if delay.Wait(p.live) != nil {
			return nil
		}
	}
}
