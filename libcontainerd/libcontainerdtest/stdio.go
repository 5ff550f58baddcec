package libcontainerdtest

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Stdio is a libcontainerd.Stdio and StreamRemover in memory. The zero value is ready for use.
type Stdio struct {
	mu   sync.Mutex
	sets map[string]*pipes // by container/process
}

// pipes are the streams of one process. They stay when a client detaches them.
type pipes struct {
	paths                 libcontainerd.StdioPaths
	stdin, stdout, stderr *pipe
}

// Left lists the processes, as container/process, whose streams are not closed.
func (s *Stdio) Left() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []string
	for name := range s.sets {
		left = append(left, name)
	}
	slices.Sort(left)
	return left
}

// Create makes the streams of a process, and replaces those of an earlier process with the same ids.
func (s *Stdio) Create(_ context.Context, c libcontainerd.StreamsConfig) (libcontainerd.Streams, error) {
	name := c.ContainerID + "/" + c.ProcessID
	set := &pipes{}
	if !c.Detached {
		set.stdout, set.paths.Stdout = newPipe(), name+"/stdout"
		if c.Stdin {
			set.stdin, set.paths.Stdin = newPipe(), name+"/stdin"
		}
		if !c.Terminal {
			set.stderr, set.paths.Stderr = newPipe(), name+"/stderr"
		}
		s.mu.Lock()
		if s.sets == nil {
			s.sets = map[string]*pipes{}
		}
		s.sets[name] = set
		s.mu.Unlock()
	}
	return newStreams(s, name, c.Keep, set), nil
}

// RemoveStreams removes the streams of all processes of a container.
func (s *Stdio) RemoveStreams(_ context.Context, containerID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.sets {
		if strings.HasPrefix(name, containerID+"/") {
			delete(s.sets, name)
		}
	}
	return nil
}

// Restore returns the streams of a process that an earlier client detached.
func (s *Stdio) Restore(_ context.Context, c libcontainerd.StreamsConfig) (libcontainerd.Streams, error) {
	name := c.ContainerID + "/" + c.ProcessID
	set := &pipes{}
	if !c.Detached {
		s.mu.Lock()
		set = s.sets[name]
		s.mu.Unlock()
		if set == nil {
			return nil, fmt.Errorf("no streams of %q: %w", name, errdefs.ErrNotFound)
		}
	}
	st := newStreams(s, name, c.Keep, set)
	if st.stdin != nil && c.StdinClosed {
		return st, st.stdin.Close()
	}
	return st, nil
}

// open returns the process's ends of its streams.
func (s *Stdio) open(p libcontainerd.StdioPaths) pipes {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, set := range s.sets {
		if set.paths == p && p != (libcontainerd.StdioPaths{}) {
			return *set
		}
	}
	return pipes{}
}

// streams are a client's ends of the streams of one process.
type streams struct {
	owner          *Stdio
	name           string
	keep           bool
	set            *pipes
	stdin          *stdin
	stdout, stderr *output
}

func newStreams(s *Stdio, name string, keep bool, set *pipes) *streams {
	st := &streams{owner: s, name: name, keep: keep, set: set}
	if set.stdin != nil {
		st.stdin = &stdin{pipe: set.stdin}
	}
	if set.stdout != nil {
		st.stdout = &output{pipe: set.stdout}
	}
	if set.stderr != nil {
		st.stderr = &output{pipe: set.stderr}
	}
	return st
}

func (s *streams) Paths() libcontainerd.StdioPaths { return s.set.paths }

func (s *streams) Stdin() io.WriteCloser {
	if s.stdin == nil {
		return nil
	}
	return s.stdin
}

func (s *streams) Stdout() libcontainerd.Output { return s.stdout.orNil() }
func (s *streams) Stderr() libcontainerd.Output { return s.stderr.orNil() }

func (s *streams) ReleaseStdin(closeIO func() error) {
	if s.stdin != nil {
		s.stdin.release(closeIO)
	}
}

func (s *streams) ExitKnown() {
	for _, o := range []*output{s.stdout, s.stderr} {
		if o != nil {
			o.pipe.exit()
		}
	}
}

func (s *streams) Detach() error {
	if s.stdin != nil {
		s.stdin.abort()
	}
	for _, o := range []*output{s.stdout, s.stderr} {
		if o != nil {
			o.shut()
		}
	}
	return nil
}

func (s *streams) Close() error {
	s.owner.mu.Lock()
	if s.owner.sets[s.name] == s.set && !s.keep {
		delete(s.owner.sets, s.name)
	}
	s.owner.mu.Unlock()
	return s.Detach()
}

// stdin is the engine's end. It is closed after Close and release were both called.
type stdin struct {
	pipe    *pipe
	closing sync.WaitGroup

	mu                  sync.Mutex
	closeAsked, aborted bool
	closeIO             func() error
	closeIOCalled       bool
}

func (s *stdin) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closeAsked || s.aborted {
		return 0, os.ErrClosed
	}
	s.pipe.write(b)
	return len(b), nil
}

func (s *stdin) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeAsked = true
	s.closeIOLocked()
	return nil
}

func (s *stdin) release(closeIO func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeIO = closeIO
	s.closeIOLocked()
}

func (s *stdin) closeIOLocked() {
	if s.closeAsked && s.closeIO != nil && !s.closeIOCalled && !s.aborted {
		s.closeIOCalled = true
		s.closing.Go(func() { _ = s.closeIO() })
	}
}

func (s *stdin) abort() {
	s.mu.Lock()
	s.aborted = true
	s.mu.Unlock()
	s.closing.Wait()
}

// pipe is a stream of bytes without a bound. It ends once ended is set: for stdin by CloseIO, for an output by the
// exit.
type pipe struct {
	mu    sync.Mutex
	moved sync.Cond
	bytes []byte
	ended bool
}

func newPipe() *pipe {
	p := &pipe{}
	p.moved.L = &p.mu
	return p
}

func (p *pipe) write(b []byte) {
	p.mu.Lock()
	p.bytes = append(p.bytes, b...)
	p.mu.Unlock()
	p.moved.Broadcast()
}

func (p *pipe) exit() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.moved.Broadcast()
}

// read waits for bytes, for the end, or until *stop is set, which mu guards.
func (p *pipe) read(b []byte, stop *bool) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.bytes) == 0 && !p.ended && !*stop {
		p.moved.Wait()
	}
	switch {
	case *stop:
		return 0, os.ErrClosed
	case len(p.bytes) == 0:
		return 0, io.EOF
	}
	n := copy(b, p.bytes)
	p.bytes = p.bytes[n:]
	return n, nil
}

// output is the engine's end of stdout or stderr.
type output struct {
	pipe   *pipe
	closed bool // guarded by pipe.mu
}

func (o *output) orNil() libcontainerd.Output {
	if o == nil {
		return nil
	}
	return o
}

func (o *output) Read(b []byte) (int, error) { return o.pipe.read(b, &o.closed) }

func (o *output) Splice(dst *os.File, off int64, limit int) (int64, error) {
	b := make([]byte, min(limit, 4<<10))
	n, err := o.Read(b)
	if err != nil {
		return 0, err
	}
	n, err = dst.WriteAt(b[:n], off)
	return int64(n), err
}

func (o *output) Close() error {
	o.shut()
	return nil
}

func (o *output) shut() {
	o.pipe.mu.Lock()
	o.closed = true
	o.pipe.mu.Unlock()
	o.pipe.moved.Broadcast()
}
