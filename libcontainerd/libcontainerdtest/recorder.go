package libcontainerdtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Recorder is a Backend and Drainer that keeps all events and all output. The zero value is ready for use. Its
// hooks must be set before use.
type Recorder struct {
	// OnEvent, if set, is called for each event. If it returns an error, the Recorder doesn't keep the event, and
	// StateChanged returns the error.
	OnEvent func(e libcontainerd.Event) error
	// OnAttach, if set, is called by AttachStreams, which returns its error.
	OnAttach func(containerID, processID string, s libcontainerd.Streams) error

	readers sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{}
	events  []libcontainerd.Event
	outputs map[string]*reading
}

// reading is the output of one process so far.
type reading struct {
	mu    sync.Mutex
	bytes bytes.Buffer
	done  chan struct{} // closed at the end of stdout
}

// AttachStreams starts a goroutine that reads stdout and one that reads stderr. They end with the streams; Join
// waits for them.
func (r *Recorder) AttachStreams(_ context.Context, s libcontainerd.ProcessStreams) error {
	containerID, processID := s.ContainerID, s.ProcessID
	if r.OnAttach != nil {
		if err := r.OnAttach(containerID, processID, s.Streams); err != nil {
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

// StateChanged keeps the event, unless OnEvent returns an error.
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

// Output returns what was read of a process's stdout and stderr so far.
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

// Events returns the events of one container so far, in order.
func (r *Recorder) Events(containerID string) []libcontainerd.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.events),
		func(e libcontainerd.Event) bool { return e.ContainerID != containerID })
}

// Remembered returns what an engine that stored the RestoreOptions of a container with each event would read after a
// restart. They begin with created.
func (r *Recorder) Remembered(containerID string, created libcontainerd.CreateOptions) (libcontainerd.RestoreOptions, error) {
	o := libcontainerd.RestoreOptions{CreateOptions: created}
	for _, e := range r.Events(containerID) {
		o.Apply(e)
	}
	stored, err := json.Marshal(o)
	if err != nil {
		return libcontainerd.RestoreOptions{}, err
	}
	var read libcontainerd.RestoreOptions
	err = json.Unmarshal(stored, &read)
	return read, err
}

// Await returns the first event of a container for which fits is true. It waits for one if there is none yet, until
// ctx ends.
func (r *Recorder) Await(ctx context.Context, containerID string,
	fits func(libcontainerd.Event) bool) (libcontainerd.Event, error) {
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

// Join waits until all streams have ended and are read.
func (r *Recorder) Join() { r.readers.Wait() }

// Types returns the types of events.
func Types(all []libcontainerd.Event) []libcontainerd.EventType {
	types := []libcontainerd.EventType{}
	for _, e := range all {
		types = append(types, e.Type)
	}
	return types
}

// Check returns an error unless these rules hold for the events so far, container by container:
//
//   - A process exits at most once, after its start, and an exec before its container.
//   - Each start has a larger generation than the one before.
//   - After a container's exit comes nothing but a start.
//   - EventOOM comes before the exit with OOMKilled, and at most once per generation.
//   - EventPaused and EventResumed alternate.
//   - The stdin of a process is closed once.
func (r *Recorder) Check() error {
	r.mu.Lock()
	all := slices.Clone(r.events)
	r.mu.Unlock()
	by := map[string]*history{}
	for i, e := range all {
		h := by[e.ContainerID]
		if h == nil {
			h = &history{execs: map[string]bool{}, closed: map[string]bool{}}
			by[e.ContainerID] = h
		}
		if err := h.next(e); err != nil {
			return fmt.Errorf("event %d, %v of %q: %w", i, e.Type, e.ContainerID, err)
		}
	}
	return nil
}

// history is the state of one container by its events so far.
type history struct {
	alive, paused, oom bool
	generation         uint64
	execs              map[string]bool
	closed             map[string]bool // whose stdin is closed, by process
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
		h.closed = map[string]bool{e.ProcessID: e.StdinClosed}
	case libcontainerd.EventExit:
		return h.exit(e)
	case libcontainerd.EventExecStarted:
		if h.execs[e.ProcessID] {
			return fmt.Errorf("exec %q twice", e.ProcessID)
		}
		h.execs[e.ProcessID], h.closed[e.ProcessID] = true, e.StdinClosed
	case libcontainerd.EventStdinClosed:
		if h.closed[e.ProcessID] {
			return fmt.Errorf("stdin of %q twice", e.ProcessID)
		}
		h.closed[e.ProcessID] = true
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
		return fmt.Errorf("the exit's OOMKilled is %v, and whether EventOOM came before is %v", e.Exit.OOMKilled, h.oom)
	}
	return nil
}
