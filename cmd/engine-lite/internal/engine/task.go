package engine

import (
	"context"
	"sync"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/files"
	"github.com/engine-lite/engine-lite/internal/await"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// task is a container and its init process: the run under way or being started, or the last one. The container's lock
// guards the fields below making.
type task struct {
	*containers.Container

	// making is held while the run IO is opened, so that there is one and the lock is not held over that. It is taken
	// before the lock.
	making sync.Mutex

	io *stdio.IO
	// ending is the IO of the run that ended last. Its output may wait for the disk.
	ending *stdio.IO
	// swept is closed when the leftovers of an earlier engine are dealt with; nil where that was before this engine
	// served. The container's log may lack the end until then.
	swept chan struct{}
	// exit is the exit that is committed and not announced: the output is being drained.
	unannounced *unannounced
	// generation is that of the run under way or being started.
	generation uint64
	// cleanup is closed when the run under way, or the last one, has ended and nothing of it is left; nil where there
	// was none.
	cleanup chan struct{}

	// copies are those from and to the container's files. They have a lock of their own.
	copies files.Copies
}

// tasks are the tasks of all containers, by id.
type tasks struct {
	mu   sync.Mutex
	byID map[string]*task
}

func (t *tasks) add(c *task) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byID[c.ID] = c
}

func (t *tasks) of(o *containers.Container) *task {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[o.ID]
}

func (t *tasks) remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, id)
}

// newTask makes the task of a container; register makes it known.
func (e *Engine) newTask(r *record.Record) *task {
	return &task{Container: containers.New(e.store, r)}
}

func (e *Engine) register(t *task, name string) {
	e.tasks.add(t)
	e.processes.Add(t.ID, libcontainerd.InitProcess, initProcess{e, t})
	e.registry.Add(t.Container, name)
}

// find resolves what a user calls a container: an id, a name, or the beginning of one id. Errors: NotFound,
// InvalidArgument where several ids begin so.
func (e *Engine) find(ref string) (*task, error) {
	o, err := e.registry.Find(ref)
	if err != nil {
		return nil, err
	}
	if t := e.tasks.of(o); t != nil {
		return t, nil
	}
	return nil, record.NotFound(ref) // removed meanwhile
}

// all returns every task, by the container's id.
func (e *Engine) all() []*task {
	var list []*task
	for _, o := range e.registry.All() {
		if t := e.tasks.of(o); t != nil {
			list = append(list, t)
		}
	}
	return list
}

// awaitSwept waits until what an earlier engine left was dealt with: who asks for
// the log or the exit of the last run must not be faster, and who waits for the
// next one must not be given the last.
func (o *task) awaitSwept(ctx context.Context) error {
	if o.swept == nil {
		return nil
	}
	if await.Closed(ctx, o.swept) != nil {
		return ctx.Err()
	}
	return nil
}
