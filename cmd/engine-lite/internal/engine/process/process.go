// Package process is where the calls of the client layer about a process meet the code of that kind of process.
//
// Three kinds are made: a container's init process (package engine), an exec (package exec) and a probe of a
// container's health (package health). Each maker adds its processes to the one [Table], and the engine routes the
// calls by it.
package process

import (
	"context"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Process is one process of a container. The client layer's calls about one process come one after the other.
type Process interface {
	// Attach takes the streams of the process, which is about to start. Errors: NotFound where nobody wants the process
	// any more.
	Attach(s libcontainerd.Streams) error
	// Started commits that the process runs. After an error the call is repeated.
	Started(ctx context.Context, ev libcontainerd.Event) error
	// Exited commits the exit. After an error the call is repeated.
	Exited(ctx context.Context, ev libcontainerd.Event) error
	// Drained waits until the last output of the ended process was read, and announces the exit then. Where ctx ends
	// first, the engine goes down and the next engine does both.
	Drained(ctx context.Context) error
	// Held is the IO whose outputs the keeper holds while no engine is there; nil for a process that ends with the
	// engine. Errors: NotFound where the process has no IO yet, or none any more.
	Held() (*stdio.IO, error)
}

// Table has the processes that an engine has made or taken up. The zero value is an empty table. Its methods may be
// called from any goroutine; no other lock is taken below the table's.
type Table struct {
	mu          sync.Mutex
	byContainer map[string]map[string]Process
}

// Add makes a process of a container known by its id.
func (t *Table) Add(container, id string, p Process) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byContainer == nil {
		t.byContainer = map[string]map[string]Process{}
	}
	if t.byContainer[container] == nil {
		t.byContainer[container] = map[string]Process{}
	}
	t.byContainer[container][id] = p
}

// Remove forgets a process.
func (t *Table) Remove(container, id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byContainer[container], id)
	if len(t.byContainer[container]) == 0 {
		delete(t.byContainer, container)
	}
}

// Find returns a process of a container. Errors: NotFound.
func (t *Table) Find(container, id string) (Process, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p, ok := t.byContainer[container][id]; ok {
		return p, nil
	}
	return nil, NotFound(container, id)
}

// Has tells whether a process is known.
func (t *Table) Has(container, id string) bool {
	_, err := t.Find(container, id)
	return err == nil
}

// Held returns the IO of a process; nil where the keeper does not hold its outputs. Errors: NotFound.
func (t *Table) Held(container, id string) (*stdio.IO, error) {
	p, err := t.Find(container, id)
	if err != nil {
		return nil, err
	}
	return p.Held()
}

// Of returns the known processes of a container, in no order.
func (t *Table) Of(container string) []Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []Process
	for _, p := range t.byContainer[container] {
		list = append(list, p)
	}
	return list
}

// All returns all known processes, in no order.
func (t *Table) All() []Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []Process
	for _, processes := range t.byContainer {
		for _, p := range processes {
			list = append(list, p)
		}
	}
	return list
}

// NotFound is the error for a process that a container does not have.
func NotFound(container, id string) error {
	return classed.Errorf(errdefs.ErrNotFound, "container %s has no process %s", container, id)
}
