package libcontainerdtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Recorder is a Backend that takes everything: it keeps the events and reads
// the outputs. Its hooks are set before use.
type Recorder struct {
	// OnEvent, if set, is asked before an event is kept: an error refuses it.
	OnEvent func(e libcontainerd.Event) error
	// OnAttach, if set, may refuse streams.
	OnAttach func(containerID, processID string, s libcontainerd.Streams) error

	readers sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{}
	events  []libcontainerd.Event
	outputs map[string]*reading
}

// reading is what was read of one process's output.
type reading struct {
	mu    sync.Mutex
	bytes bytes.Buffer
	done  chan struct{} // closed at the end of stdout
}

// AttachStreams starts a reader of stdout and one of stderr, which end with
// their streams.
func (r *Recorder) AttachStreams(_ context.Context, containerID, processID string, s libcontainerd.Streams) error {
	if r.OnAttach != nil {
		if err := r.OnAttach(containerID, processID, s); err != nil {
			return err
		}
	}
	if s.Stdout() == nil {
		return nil
	}
	rd := &reading{done: make(chan struct{})}
	r.mu.Lock()
	if r.outputs == nil {
		r.outputs = map[string]*reading{}
	}
	r.outputs[containerID+"/"+processID] = rd
	r.mu.Unlock()
	r.readers.Go(func() {
		defer close(rd.done)
		rd.read(s.Stdout())
	})
	if s.Stderr() != nil {
		r.readers.Go(func() { rd.read(s.Stderr()) })
	}
	return nil
}

func (rd *reading) read(o libcontainerd.Output) {
	b := make([]byte, 32<<10)
	for {
		n, err := o.Read(b)
		rd.mu.Lock()
		rd.bytes.Write(b[:n])
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
			fmt.Fprintf(&rd.bytes, "[%v]", err)
		}
		rd.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// DrainStreams waits for the end of stdout.
func (r *Recorder) DrainStreams(ctx context.Context, containerID, processID string) error {
	r.mu.Lock()
	rd := r.outputs[containerID+"/"+processID]
	r.mu.Unlock()
	if rd == nil {
		return nil
	}
	select {
	case <-rd.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// StateChanged keeps the event.
func (r *Recorder) StateChanged(_ context.Context, e libcontainerd.Event) error {
	if r.OnEvent != nil {
		if err := r.OnEvent(e); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
	return nil
}

// Output is what a process's stdout and stderr gave so far.
func (r *Recorder) Output(containerID, processID string) string {
	r.mu.Lock()
	rd := r.outputs[containerID+"/"+processID]
	r.mu.Unlock()
	if rd == nil {
		return ""
	}
	rd.mu.Lock()
	defer rd.mu.Unlock()
	return rd.bytes.String()
}

// Events are those of one container so far, in order.
func (r *Recorder) Events(containerID string) []libcontainerd.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.events), func(e libcontainerd.Event) bool { return e.ContainerID != containerID })
}

// Await waits for an event that fits; the container's first such one.
func (r *Recorder) Await(ctx context.Context, containerID string, fits func(libcontainerd.Event) bool) (libcontainerd.Event, error) {
	for {
		r.mu.Lock()
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		changed := r.changed
		r.mu.Unlock()
		all := r.Events(containerID)
		if i := slices.IndexFunc(all, fits); i >= 0 {
			return all[i], nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return libcontainerd.Event{}, fmt.Errorf("no such event; there are %v: %w", Types(all), context.Cause(ctx))
		}
	}
}

// Join waits for the readers of all streams, which end when the streams do.
func (r *Recorder) Join() { r.readers.Wait() }

// Types are the types of events.
func Types(all []libcontainerd.Event) []libcontainerd.EventType {
	types := []libcontainerd.EventType{}
	for _, e := range all {
		types = append(types, e.Type)
	}
	return types
}

// Check verifies what holds for the events of any container, whatever happened:
// each process ends at most once and after it started, generations go up,
// nothing follows a container's exit but a new start, an out-of-memory kill
// comes before the exit that tells of it, and pauses alternate.
func (r *Recorder) Check() error {
	r.mu.Lock()
	all := slices.Clone(r.events)
	r.mu.Unlock()
	by := map[string]*history{}
	for i, e := range all {
		h := by[e.ContainerID]
		if h == nil {
			h = &history{execs: map[string]bool{}}
			by[e.ContainerID] = h
		}
		if err := h.next(e); err != nil {
			return fmt.Errorf("event %d, %v of %q: %w", i, e.Type, e.ContainerID, err)
		}
	}
	return nil
}

// history is what the events of one container have told so far.
type history struct {
	alive, paused, oom bool
	generation         uint64
	execs              map[string]bool
}

func (h *history) next(e libcontainerd.Event) error {
	if e.Type == libcontainerd.EventRestore {
		h.alive, h.generation = true, e.Generation
		return nil
	}
	if h.alive == (e.Type == libcontainerd.EventStart) {
		return fmt.Errorf("alive is %v", h.alive)
	}
	if h.alive && e.Generation != h.generation {
		return fmt.Errorf("generation %d in %d", e.Generation, h.generation)
	}
	switch e.Type {
	case libcontainerd.EventStart:
		if e.Generation <= h.generation {
			return fmt.Errorf("generation %d after %d", e.Generation, h.generation)
		}
		h.alive, h.paused, h.oom, h.generation = true, false, false, e.Generation
	case libcontainerd.EventExit:
		return h.exit(e)
	case libcontainerd.EventExecStarted:
		if h.execs[e.ProcessID] {
			return fmt.Errorf("exec %q twice", e.ProcessID)
		}
		h.execs[e.ProcessID] = true
	case libcontainerd.EventExitProcess:
		if !h.execs[e.ProcessID] {
			return fmt.Errorf("exec %q ended and wasn't running", e.ProcessID)
		}
		delete(h.execs, e.ProcessID)
	case libcontainerd.EventOOM:
		if h.oom {
			return errors.New("twice")
		}
		h.oom = true
	case libcontainerd.EventPaused, libcontainerd.EventResumed:
		if paused := e.Type == libcontainerd.EventPaused; paused != h.paused {
			h.paused = paused
			return nil
		}
		return fmt.Errorf("paused is %v", h.paused)
	case libcontainerd.EventExecAdded, libcontainerd.EventRestore:
	}
	return nil
}

func (h *history) exit(e libcontainerd.Event) error {
	h.alive = false
	if len(h.execs) > 0 {
		return fmt.Errorf("with %d execs alive", len(h.execs))
	}
	if e.Exit.OOMKilled != h.oom {
		return fmt.Errorf("out of memory is %v, and was told: %v", e.Exit.OOMKilled, h.oom)
	}
	return nil
}
