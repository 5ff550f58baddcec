package heldstdio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/await"
	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/spool"
)

// Outputs keeps the outputs of processes in files: DIR/CONTAINER/PROCESS/stdout and stderr. While an engine runs, a
// spool moves an output into its file. While none runs, the keeper does. Methods may be called from any goroutine.
type Outputs struct {
	dir   string
	bound int64

	mu        sync.Mutex
	processes map[string]*process // by CONTAINER/PROCESS
}

// process has the outputs of one process since its last start.
type process struct {
	dir string

	mu     sync.Mutex
	files  map[string]*os.File // those that the keeper got, by name
	spools map[string]*spool.Spool
}

var _ Process = (*process)(nil)

// NewOutputs returns the outputs below an absolute directory, which is made when the first one is. It should be one
// that a reboot does not empty. bound is the number of the latest bytes of each output that are kept at least: 0 keeps
// 1 MiB. For complete output, take a bound that no output reaches, such as 1<<40.
func NewOutputs(dir string, bound int64) *Outputs {
	return &Outputs{dir: dir, bound: bound, processes: map[string]*process{}}
}

func (o *Outputs) path(containerID, processID string) (string, error) {
	if err := errors.Join(libcontainerd.CheckID(containerID), libcontainerd.CheckID(processID)); err != nil {
		return "", err
	}
	return filepath.Join(o.dir, containerID, processID), nil
}

// Find is for Stdio.Find. The files of a process that is not restored are new: those of an earlier process with the
// same ids are removed.
func (o *Outputs) Find(containerID, processID string, restored bool) (Process, error) {
	dir, err := o.path(containerID, processID)
	if err != nil {
		return nil, err
	}
	if !restored {
		if err := o.forget(containerID, processID); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot keep the output of a process: %w", err)
	}
	p := &process{dir: dir, files: map[string]*os.File{}, spools: map[string]*spool.Spool{}}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.processes[containerID+"/"+processID] = p
	return p, nil
}

// Raw opens the file of an output, which is made if it isn't there.
func (p *process) Raw(name string) (*os.File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.files[name]; f != nil {
		return f, nil
	}
	f, err := os.OpenFile(filepath.Join(p.dir, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot keep the output of a process: %w", err)
	}
	p.files[name] = f
	return f, nil
}

// Created does nothing: the spools read from the beginning.
func (p *process) Created() {}

// Unread says whether a spool has not come to the end of its output, or has broken before.
func (p *process) Unread() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.spools {
		select {
		case <-s.Done():
			if s.Err() != nil {
				return true
			}
		default:
			return true
		}
	}
	return false
}

func (o *Outputs) find(containerID, processID string) (*process, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.processes[containerID+"/"+processID]
	if p == nil {
		return nil, fmt.Errorf("no output of process %q of container %q: %w", processID, containerID, errdefs.ErrNotFound)
	}
	return p, nil
}

// Attach is for Backend.AttachStreams: it begins to move the outputs into their files, with goroutines that end with
// the streams. NotFound for streams that no Stdio with this Find has made.
func (o *Outputs) Attach(s libcontainerd.ProcessStreams) error {
	p, err := o.find(s.ContainerID, s.ProcessID)
	if err != nil {
		return err
	}
	for name, output := range map[string]libcontainerd.Output{keeper.Stdout: s.Stdout(), keeper.Stderr: s.Stderr()} {
		if output == nil {
			continue
		}
		raw, err := p.Raw(name)
		if err != nil {
			return err
		}
		moved, err := spool.New(output, spool.Options{File: raw, Bound: o.bound})
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.spools[name] = moved
		p.mu.Unlock()
	}
	return nil
}

// Drain is for Drainer.DrainStreams: it waits until all output of an ended process is in the files, or ctx ends. It
// fails with what has kept a file from taking the output, such as a full disk.
func (o *Outputs) Drain(ctx context.Context, containerID, processID string) error {
	p, err := o.find(containerID, processID)
	if err != nil {
		return err
	}
	p.mu.Lock()
	var moved []*spool.Spool
	for _, s := range p.spools {
		moved = append(moved, s)
	}
	p.mu.Unlock()
	for _, s := range moved {
		err := await.Closed(ctx, s.Done())
		if err == nil {
			err = s.Err()
		}
		if err != nil {
			return fmt.Errorf("waiting for the output of process %q of container %q: %w", processID, containerID, err)
		}
	}
	return nil
}

// Spool returns the spool of an output, keeper.Stdout or keeper.Stderr, of a process that this engine has started or
// restored. NotFound for another process; File has the output of one that has ended before.
func (o *Outputs) Spool(containerID, processID, name string) (*spool.Spool, error) {
	p, err := o.find(containerID, processID)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.spools[name]
	if s == nil {
		return nil, fmt.Errorf("process %q of container %q has no %s: %w", processID, containerID, name, errdefs.ErrNotFound)
	}
	return s, nil
}

// File returns the path of the file of an output. A hole at its beginning stands for bytes that are kept no longer.
// InvalidArgument for ids that don't pass libcontainerd.CheckID.
func (o *Outputs) File(containerID, processID, name string) (string, error) {
	dir, err := o.path(containerID, processID)
	return filepath.Join(dir, name), err
}

// Remove closes the spools of a process that has ended, and removes its files; with an empty processID those of all
// processes of the container. It is no error if there are none.
func (o *Outputs) Remove(containerID, processID string) error {
	if processID != "" {
		return o.forget(containerID, processID)
	}
	if err := libcontainerd.CheckID(containerID); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(o.dir, containerID))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot remove the output of a container: %w", err)
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, o.forget(containerID, e.Name()))
	}
	return errors.Join(append(errs, os.RemoveAll(filepath.Join(o.dir, containerID)))...)
}

// forget closes what there is of a process, and removes its files.
func (o *Outputs) forget(containerID, processID string) error {
	dir, err := o.path(containerID, processID)
	if err != nil {
		return err
	}
	o.mu.Lock()
	p := o.processes[containerID+"/"+processID]
	delete(o.processes, containerID+"/"+processID)
	o.mu.Unlock()
	if p != nil {
		err = p.close()
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// close closes the spools, and the files that none has.
func (p *process) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for name, s := range p.spools {
		errs = append(errs, s.Close())
		delete(p.files, name)
	}
	for _, f := range p.files {
		errs = append(errs, f.Close())
	}
	clear(p.files)
	return errors.Join(errs...)
}

// Close closes all spools. The files stay.
func (o *Outputs) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs []error
	for _, p := range o.processes {
		errs = append(errs, p.close())
	}
	clear(o.processes)
	return errors.Join(errs...)
}
