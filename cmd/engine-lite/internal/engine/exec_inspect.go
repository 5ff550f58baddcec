package engine

import (
	"context"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/inspect"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// ExecInspect tells what is known of an exec.
func (e *Engine) ExecInspect(_ context.Context, id string) (ExecInspect, error) {
	x, err := e.execs.find(id)
	if err == nil {
		return x.inspect(), nil
	}
	if last, ok := e.execs.last(id); ok {
		return last, nil
	}
	return ExecInspect{}, err
}

// end leaves of an exec what can still be asked for.
func (t *execTable) end(id string, last ExecInspect) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, id)
	t.ended[id] = last
}

// last is what is left of an exec that has ended.
func (t *execTable) last(id string) (ExecInspect, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, ok := t.ended[id]
	return last, ok
}

func (x *execution) inspect() ExecInspect {
	x.mu.Lock()
	defer x.mu.Unlock()
	return inspect.Exec(record.Exec{ID: x.id, Container: x.owner.ID, Pid: x.pid, Request: x.request}, x.started && x.exit == nil, x.exit)
}
