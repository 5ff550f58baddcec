package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/atomicfile"
	"github.com/engine-lite/engine-lite/internal/ocilog"
	"github.com/engine-lite/engine-lite/keeper"
)

func keeperSocket(run string) string { return filepath.Join(run, "keeper", keeper.SocketName) }

// create creates a container. It writes the pid file last: callers take the file for a
// sign that all is done.
func (o *options) create(ctx context.Context, id string, c createFlags) (err error) {
	s, err := o.beginCreate(ctx, id, &c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	pid, err := s.make(c)
	if err != nil {
		return err
	}
	ocilog.Wake(s.logDir())
	if c.pidFile == "" {
		return nil
	}
	between("pid file")
	if err := writePidFile(c.pidFile, pid); err != nil {
		return errors.Join(fmt.Errorf("cannot write the pid file: %w", err), s.remove(true))
	}
	between("pid file written")
	return nil
}

// beginCreate opens the log for a new container. The error is of class AlreadyExists if
// a container has the id.
func (o *options) beginCreate(ctx context.Context, id string, c *createFlags) (*session, error) {
	if err := o.check(id); err != nil {
		return nil, err
	}
	bundle, err := filepath.Abs(c.bundle)
	if err != nil {
		return nil, err
	}
	c.bundle = bundle
	r, err := o.chooseRuntime()
	if err != nil {
		return nil, err
	}
	for {
		log, err := o.openLog(ctx, id, true)
		if err != nil {
			return nil, err
		}
		s := &session{options: o, id: id, log: log, runtime: r}
		free, err := s.free(ctx)
		if free {
			return s, nil
		}
		if err := errors.Join(err, s.end()); err != nil {
			return nil, err
		}
	}
}

// free reports whether the log is new. If its container is gone, free retires the log
// and returns false: the caller opens the log again. If the container exists, the error
// is of class AlreadyExists.
func (s *session) free(ctx context.Context) (bool, error) {
	if s.log.State.Container.Run == "" {
		return true, nil
	}
	if err := s.settle(ctx); err != nil || s.log == nil {
		return false, err
	}
	_, err := s.recorded().state(s.id)
	switch {
	case err == nil:
		return false, fmt.Errorf("container with id %q exists: %w", s.id, errdefs.ErrAlreadyExists)
	case errdefs.IsNotFound(err):
		return false, s.gone(ocilog.Line{Action: ocilog.Destroy, Step: ocilog.Done, Recovered: true})
	}
	return false, err
}

// recorded returns the runtime that the log names.
func (s *session) recorded() ociRuntime {
	return s.runtimeAt(s.log.State.Container.Runtime, s.log.State.Container.Root)
}

// make creates the container by the runtime and notes it in the log.
func (s *session) make(c createFlags) (pid int, err error) {
	begun := ocilog.Container{
		Run: ocilog.NewRun(), ID: s.id, Root: s.runtime.root, Runtime: s.runtime.path,
		Bundle: c.bundle, Annotations: annotations(c.bundle),
	}
	if err := s.note(ocilog.Line{Action: ocilog.Create, Step: ocilog.Begun, Container: &begun}); err != nil {
		return 0, errors.Join(err, s.log.Discard())
	}
	pidFile := ocilog.PidFile(s.logDir(), begun.Run)
	args := append([]string{"create"}, c.args(pidFile)...)
	if err := s.runtime.do(begun.Run, append(args, s.id)...); err != nil {
		return 0, errors.Join(err, s.forget())
	}
	if pid, err = readPid(pidFile); err == nil {
		err = s.created(pid, false)
	}
	if err != nil {
		return 0, errors.Join(err, s.remove(true))
	}
	return pid, s.removePidFile()
}

// maxAnnotations is how many bytes of annotations an event may have: the event of an
// exit must fit into the journal.
const maxAnnotations = 512 << 10

// annotations returns the annotations of a bundle. It returns none if they are too
// long, or can't be read: the runtime reports that.
func annotations(bundle string) map[string]string {
	data, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return nil
	}
	var spec struct {
		Annotations map[string]string `json:"annotations"`
	}
	if json.Unmarshal(data, &spec) != nil {
		return nil
	}
	size := 0
	for key, value := range spec.Annotations {
		size += len(key) + len(value)
	}
	if size > maxAnnotations {
		return nil
	}
	return spec.Annotations
}

// readPid reads a runtime's pid file: a number and perhaps a line break.
func readPid(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("the OCI runtime left no process id: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("the OCI runtime left %.40q, which is no process id: %w", data, errdefs.ErrDataLoss)
	}
	return pid, nil
}

// writePidFile makes the file appear complete, by rename(2).
func writePidFile(path string, pid int) error {
	return atomicfile.Write(path, []byte(strconv.Itoa(pid)), 0o644)
}
