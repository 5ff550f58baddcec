package libcontainerd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"
)

// RestoreOptions are what the engine stored of a container before it was restarted. Apply keeps them up to date. Their
// JSON form may be stored: later releases read it.
type RestoreOptions struct {
	// CreateOptions are those that the container was created with.
	CreateOptions
	// Generation is how often the container was started so far.
	Generation uint64 `json:"generation,omitempty"`
	// Pid is the pid of the init process, if one ran by the last event that the engine took; else 0.
	Pid int `json:"pid,omitempty"`
	// Stdio is the StdioConfig that the init process was started with.
	Stdio StdioConfig `json:"stdio,omitzero"`
	// StdinClosed says that the stdin of the init process was closed.
	StdinClosed bool `json:"stdinClosed,omitempty"`
	// Paused says that the container was paused by the last event that the engine took.
	Paused bool `json:"paused,omitempty"`
	// OOMDelivered says that the backend has taken EventOOM for this generation.
	OOMDelivered bool `json:"oomDelivered,omitempty"`
	// Exit is the exit of the init process, if the backend has taken EventExit and DrainStreams has not returned. It
	// needs a Pid: a Drainer stores Exit in place of applying EventExit, and applies that event, and takes Exit away,
	// when DrainStreams has returned. The client delivers this exit again, also if the daemon has forgotten it.
	Exit *Exit `json:"exit,omitempty"`
	// Execs are the execs that were added or ran by the last event that the engine took. They need a Pid of the
	// init process.
	Execs []RestoreExec `json:"execs,omitempty"`
}

// RestoreExec is what the engine stored of an exec before it was restarted.
type RestoreExec struct {
	ID string `json:"id"`
	// Pid is 0 if the engine took EventExecAdded and no EventExecStarted. Such an exec may run or not; the client
	// kills and deletes it.
	Pid int `json:"pid,omitempty"`
	// Stdio is the StdioConfig that the exec was started with.
	Stdio StdioConfig `json:"stdio,omitzero"`
	// StdinClosed says that the exec's stdin was closed.
	StdinClosed bool `json:"stdinClosed,omitempty"`
}

// keptAdded is how many execs Apply keeps that were added and did not start. A start that failed has no event, so that
// they would be more and more. The client starts fewer at once.
const keptAdded = 128

// Apply changes o as an event of the container says. An engine that begins with the container's CreateOptions, applies
// each event to o, and stores o before it returns nil from StateChanged, has in o what Restore needs.
func (o *RestoreOptions) Apply(e Event) {
	if e.Type == EventStart {
		*o = RestoreOptions{CreateOptions: o.CreateOptions, Generation: e.Generation, Pid: e.Pid, Stdio: e.Stdio,
			StdinClosed: e.StdinClosed}
		return
	}
	if e.Generation != o.Generation || o.Pid == 0 {
		return
	}
	switch e.Type {
	case EventExit:
		*o = RestoreOptions{CreateOptions: o.CreateOptions, Generation: e.Generation}
	case EventOOM:
		o.OOMDelivered = true
	case EventPaused:
		o.Paused = true
	case EventResumed:
		o.Paused = false
	case EventExecAdded:
		o.forgetExec(e.ProcessID)
		o.Execs = append(o.Execs, RestoreExec{ID: e.ProcessID})
		o.boundAdded()
	case EventExecStarted:
		o.forgetExec(e.ProcessID)
		o.Execs = append(o.Execs, RestoreExec{ID: e.ProcessID, Pid: e.Pid, Stdio: e.Stdio, StdinClosed: e.StdinClosed})
	case EventExitProcess:
		o.forgetExec(e.ProcessID)
	case EventStdinClosed:
		if e.ProcessID == InitProcess {
			o.StdinClosed = true
		}
		for i := range o.Execs {
			if o.Execs[i].ID == e.ProcessID {
				o.Execs[i].StdinClosed = true
			}
		}
	case EventStart, EventRestore:
	}
}

func (o *RestoreOptions) forgetExec(id string) {
	o.Execs = slices.DeleteFunc(o.Execs, func(x RestoreExec) bool { return x.ID == id })
}

// boundAdded forgets the oldest exec that did not start, if there are more than keptAdded.
func (o *RestoreOptions) boundAdded() {
	added := 0
	for _, x := range o.Execs {
		if x.Pid == 0 {
			added++
		}
	}
	if added > keptAdded {
		first := slices.IndexFunc(o.Execs, func(x RestoreExec) bool { return x.Pid == 0 })
		o.Execs = slices.Delete(o.Execs, first, first+1)
	}
}

// Restore makes a container from what the engine stored before it was restarted. Call it before Run. Restore makes
// no call to the daemon: the processes in opts count as running. Restore opens their streams, hands them to
// Backend.AttachStreams, and delivers EventRestore if Pid isn't 0.
//
// The first reconcile of Run then finds what happened meanwhile, and delivers it as events with Recovered set: the exit
// of a task that has stopped, or an Unknown exit if the daemon no longer has the task. If the daemon has a task whose
// start was never delivered (Pid is 0 or differs), the client kills and deletes that task. No answer was lost then:
// Start returns nil only when the backend has taken EventStart.
//
// Errors: InvalidArgument for an id that doesn't pass CheckID or for opts that contradict each other; AlreadyExists
// for an id that this client has; those of Stdio.Restore and of AttachStreams. After an error the processes run on,
// and their streams are detached.
func (c *Client) Restore(ctx context.Context, id string, opts RestoreOptions) (*Container, error) {
	if err := opts.check(id); err != nil {
		return nil, fmt.Errorf("cannot restore container %q: %w", id, err)
	}
	if err := c.reserve(ctx, id); err != nil {
		return nil, err
	}
	ctr := newContainer(c, id, opts.CreateOptions)
	ctr.rec.generation = opts.Generation
	ctr.rec.leftovers = map[string]bool{InitProcess: true}
	if err := ctr.restoreProcesses(ctx, opts); err != nil {
		c.release(id)
		return nil, fmt.Errorf("cannot restore container %q: %w", id, err)
	}
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	ctr.rec.transition(opts.status())
	if opts.Pid > 0 {
		ctr.emitOrHalt(ctr.rec.init, Event{Type: EventRestore, ProcessID: InitProcess, Pid: opts.Pid,
			Generation: opts.Generation, Recovered: true, Time: time.Now()})
	}
	c.add(ctr)
	return ctr, nil
}

func (o *RestoreOptions) status() Status {
	switch {
	case o.Pid > 0 && o.Paused:
		return StatusPaused
	case o.Pid > 0:
		return StatusRunning
	case o.Generation > 0:
		return StatusStopped
	}
	return StatusCreated
}

func (o *RestoreOptions) check(id string) error {
	if o.Pid < 0 || (o.Pid > 0 && o.Generation == 0) {
		return fmt.Errorf("pid %d with generation %d: %w", o.Pid, o.Generation, errdefs.ErrInvalidArgument)
	}
	if o.Pid == 0 && (len(o.Execs) > 0 || o.Exit != nil) {
		return fmt.Errorf("execs or an exit without an init process: %w", errdefs.ErrInvalidArgument)
	}
	seen := map[string]bool{}
	for _, e := range o.Execs {
		if err := checkExecID(id, e.ID); err != nil {
			return err
		}
		if e.Pid < 0 {
			return fmt.Errorf("exec %q with pid %d: %w", e.ID, e.Pid, errdefs.ErrInvalidArgument)
		}
		if seen[e.ID] {
			return fmt.Errorf("exec %q twice: %w", e.ID, errdefs.ErrInvalidArgument)
		}
		seen[e.ID] = true
	}
	return nil
}

// restoreProcesses opens the streams of all processes and hands them to the backend. After an error it has detached
// those that it opened.
func (ctr *Container) restoreProcesses(ctx context.Context, opts RestoreOptions) error {
	if opts.Pid == 0 {
		return nil
	}
	init, err := ctr.restoreProcess(ctx, InitProcess, opts.Pid, opts.Stdio, opts.StdinClosed)
	if err != nil {
		return err
	}
	init.oomEmitted = opts.OOMDelivered
	if opts.Exit != nil {
		init.endFound(*opts.Exit)
	}
	ctr.rec.init, ctr.terminal = init, new(opts.Stdio.Terminal)
	ctr.rec.leftovers = nil
	for _, e := range opts.Execs {
		if e.Pid == 0 {
			ctr.rec.addLeftover(e.ID)
			continue
		}
		p, err := ctr.restoreProcess(ctx, e.ID, e.Pid, e.Stdio, e.StdinClosed)
		if err != nil {
			ctr.detachStreams()
			return err
		}
		ctr.rec.execs[e.ID] = p
	}
	return nil
}

func (ctr *Container) restoreProcess(ctx context.Context, id string, pid int, cfg StdioConfig,
	stdinClosed bool) (*process, error) {
	p := newProcess(ctr, id, ctr.rec.generation, cfg)
	p.pid, p.state = pid, processRunning
	p.stdinClosed, p.config.StdinClosed = stdinClosed, stdinClosed
	streams, err := ctr.client.stdio.Restore(ctx, p.config)
	if err != nil {
		p.cancel()
		return nil, fmt.Errorf("streams of %q: %w", id, err)
	}
	if err := ctr.client.attach(ctx, p, streams, true); err != nil {
		p.cancel()
		detach(ctr.client, p, streams)
		return nil, err
	}
	p.streams = streams
	streams.ReleaseStdin(p.closeIO)
	return p, nil
}
