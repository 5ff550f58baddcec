package engine

import (
	"cmp"
	"context"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/process"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// AttachStreams takes the streams of a process that is about to start.
func (e *Engine) AttachStreams(_ context.Context, s libcontainerd.ProcessStreams) error {
	p, err := e.processes.Find(s.ContainerID, s.ProcessID)
	if err != nil {
		return err
	}
	return p.Attach(s.Streams)
}

// StateChanged commits what happened to a container. It is called in order for
// each container, and again where it fails.
func (e *Engine) StateChanged(ctx context.Context, ev libcontainerd.Event) error {
	o, err := e.find(ev.ContainerID)
	if err != nil {
		return nil // removed meanwhile
	}
	switch ev.Type {
	case libcontainerd.EventStart, libcontainerd.EventExecStarted:
		return e.toProcess(ctx, ev, process.Process.Started)
	case libcontainerd.EventExit, libcontainerd.EventExitProcess:
		return e.toProcess(ctx, ev, process.Process.Exited)
	case libcontainerd.EventOOM:
		_, _, err = o.Commit(ctx, containers.Change{
			Mutate: func(r *record.Record) error { r.OOMKilled = true; return nil }, Action: "oom", Recovered: ev.Recovered,
		})
	case libcontainerd.EventPaused:
		err = e.onFrozen(ctx, o, ev, record.StatusPaused, "pause")
	case libcontainerd.EventResumed:
		err = e.onFrozen(ctx, o, ev, record.StatusRunning, "unpause")
	case libcontainerd.EventExecAdded, libcontainerd.EventStdinClosed, libcontainerd.EventRestore:
		// exec_create is the event of the first. The second was written down before stdin was closed. The third needs none.
	}
	return err
}

// toProcess hands an event to the process that it is about. A process that is not known needs no event: a probe that has
// ended, or an exec whose start failed.
func (e *Engine) toProcess(ctx context.Context, ev libcontainerd.Event, take func(process.Process, context.Context, libcontainerd.Event) error) error {
	p, err := e.processes.Find(ev.ContainerID, cmp.Or(ev.ProcessID, libcontainerd.InitProcess))
	if err != nil {
		return nil
	}
	return take(p, ctx, ev)
}

// DrainStreams waits until the last output of an ended process was read, and announces the exit then. Where ctx ends
// first, the engine goes down and the next engine does both.
func (e *Engine) DrainStreams(ctx context.Context, containerID, processID string) error {
	p, err := e.processes.Find(containerID, processID)
	if err != nil {
		return nil // removed meanwhile, or never started
	}
	return p.Drained(ctx)
}

func (e *Engine) onFrozen(ctx context.Context, o *task, ev libcontainerd.Event, to record.Status, action string) error {
	r, _, err := o.Commit(ctx, containers.Change{
		Mutate: func(r *record.Record) error {
			if r.Running() {
				r.Status = to
			}
			if to == record.StatusRunning {
				r.CommitPause = 0
			}
			return nil
		},
		Action: action, Recovered: ev.Recovered,
	})
	if err == nil {
		e.ThawAfter(o.Container, r)
	}
	return err
}
