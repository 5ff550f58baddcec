package libcontainerd

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	"go.opentelemetry.io/otel/trace"
)

// processState is the state of a process. The exit is known in processEnded only.
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
	config     StreamsConfig

	// live ends with the process, and with it the goroutines and calls that are about the process.
	live   context.Context
	cancel context.CancelFunc

	// request is the span of the request that started the process; nil if no span is recorded.
	request trace.Span

	// startTaken is closed once the backend has taken the start. Whoever starts the process has the field.
	startTaken <-chan struct{}

	taken   chan struct{} // closed once the backend has taken the exit, or the start has failed
	settled chan struct{} // closed once the daemon has deleted the process and the streams are closed
	watched chan struct{} // closed when watch has returned

	// Guarded by the container's mu.
	state       processState
	pid         int
	streams     Streams
	stdinClosed bool // stdin is closed, or was by an earlier client
	// stdinCloseAsked says that CloseStdin was called, perhaps before the streams were opened.
	stdinCloseAsked bool
	held            *ending // an exit that was known before the start returned
	exit            Exit
	failure         error // why the start failed
	// returned says that RunExec started this exec, and has returned.
	returned   bool
	oomEmitted bool
	watching   bool
	warnings   []string

	// foundEnd holds the first end that a reconcile found. That end also ends waiting, the context of the Wait in
	// progress.
	foundEnd chan ending
	drained  bool // used by the queue's goroutine only
	waiting  context.Context
	stopWait context.CancelFunc
}

// ending is an exit, and whether a reconcile found it.
type ending struct {
	exit      Exit
	recovered bool
}

func newProcess(ctr *Container, id string, generation uint64, cfg StdioConfig) *process {
	if cfg.UID == 0 && cfg.GID == 0 {
		cfg.UID, cfg.GID = ctr.options.UID, ctr.options.GID
	}
	p := &process{
		container: ctr, id: id, generation: generation,
		config: StreamsConfig{StdioConfig: cfg, ContainerID: ctr.id, ProcessID: id, Keep: ctr.client.options.noClean},
		taken:  make(chan struct{}), settled: make(chan struct{}), watched: make(chan struct{}),
		foundEnd: make(chan ending, 1),
	}
	p.live, p.cancel = context.WithCancel(ctr.client.active)
	p.waiting, p.stopWait = context.WithCancel(p.live)
	return p
}

// result returns how the process ended. It is called once taken is closed.
func (p *process) result() (Exit, error) {
	p.container.mu.Lock()
	defer p.container.mu.Unlock()
	return p.exit, p.failure
}

// endFound hands an end that a reconcile found to the goroutine that watches p, which is the only one that records
// p's exit. The first end counts.
func (p *process) endFound(e Exit) {
	select {
	case p.foundEnd <- ending{exit: e, recovered: true}:
		p.stopWait()
	default:
	}
}

// watch waits for the exit of p and records it. It ends with the exit, or with p.live.
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

// await calls the daemon's Wait until the exit is known. It returns false if p.live ends before.
func (p *process) await() (ending, bool) {
	c, retried := p.container.client, false
	for delay := newBackoff(c.options); ; {
		reconciled := c.reconcileDone()
		select {
		case end := <-p.foundEnd:
			return end, true
		default:
		}
		begun := time.Now()
		exit, err := c.daemon.Wait(p.waiting, p.container.id, p.id)
		end := ending{exit: exit, recovered: retried && exit.Time.Before(begun)}
		select {
		case found := <-p.foundEnd:
			return end.or(found, err == nil), true
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

// or merges the end that a Wait returned, if waited, with the end that a reconcile found: it takes a status that
// one of them knows, and OOMKilled from both.
func (e ending) or(found ending, waited bool) ending {
	if !waited || e.exit.Unknown != "" {
		return found
	}
	e.exit.OOMKilled = e.exit.OOMKilled || found.exit.OOMKilled
	return e
}

// pauseWait waits for d after a Wait that failed, or until the next reconcile.
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

// closeIO records that p's stdin is closed, and has the daemon close its end. It tries again until the daemon has done
// that or p has ended.
func (p *process) closeIO() error {
	p.recordStdinClosed()
	c := p.container.client
	for delay := newBackoff(c.options); ; {
		err := c.daemon.CloseIO(p.live, p.container.id, p.id)
		if err == nil || errdefs.IsNotFound(err) || p.live.Err() != nil {
			return nil
		}
		c.logOf(p.container.id, p.id).Warn("cannot close stdin at the runtime daemon; trying again", "error", err)
		if delay.Wait(p.live) != nil {
			return nil
		}
	}
}

// recordStdinClosed emits EventStdinClosed, unless the start event will say the same.
func (p *process) recordStdinClosed() {
	ctr := p.container
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	if p.stdinClosed {
		return
	}
	p.stdinClosed = true
	if p.state == processRunning {
		ctr.emitOrHalt(p, Event{Type: EventStdinClosed, ProcessID: p.id, Pid: p.pid, Generation: p.generation,
			Time: time.Now()})
	}
}
