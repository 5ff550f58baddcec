package engine

import (
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/namespaces"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// joined are the namespaces of other containers that a run takes part in. They are held open until the OCI runtime has
// joined them: the spec has paths of this process's descriptors, /proc/PID/fd/N, and no pid of a container, which
// another process may have by then.
type joined struct {
	namespaces []specs.LinuxNamespace
	files      []*os.File
}

func (j *joined) add(kind specs.LinuxNamespaceType, f *os.File) {
	j.files = append(j.files, f)
	j.namespaces = append(j.namespaces, specs.LinuxNamespace{
		Type: kind, Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()),
	})
}

func (j *joined) close() {
	for _, f := range j.files {
		f.Close()
	}
}

// join takes the namespaces that a container's next run shares with other containers; the caller closes them. It
// returns the errors of dockerd.
func (e *Engine) join(r *record.Record) (*joined, error) {
	j := &joined{}
	if id := r.HostConfig.PidMode.Container(); id != "" {
		if err := e.joinPID(j, id); err != nil {
			j.close()
			return nil, classed.Errorf(errdefs.ErrInternal, "failed to join PID namespace: %v", err)
		}
	}
	return j, nil
}

func (e *Engine) joinPID(j *joined, id string) error {
	_, p, err := e.donor(id)
	if err != nil {
		return err
	}
	defer p.Close()
	f, err := p.Namespace("pid")
	if err == nil {
		j.add(specs.PIDNamespace, f)
	}
	return donated(id, p, err)
}

// donor finds a running container whose namespaces another one is going to share, and its init process, which the
// caller closes. It looks at the newest record only and takes no operation lock: two starts never wait for each other.
// So the container may have ended by now, and its pid may be another process's: see donated.
func (e *Engine) donor(id string) (*record.Record, *namespaces.Process, error) {
	o, err := e.find(id)
	if err != nil {
		return nil, nil, classed.Errorf(errdefs.ErrInvalidArgument, "%v", err)
	}
	r := o.Record()
	switch {
	case r.Status == record.StatusRestarting:
		return nil, nil, classed.Errorf(errdefs.ErrConflict, "Container %s is restarting, wait until the container is running", id)
	case !r.Running():
		return nil, nil, notRunning(id)
	}
	p, err := namespaces.Open(r.Pid)
	if errdefs.IsNotFound(err) {
		return nil, nil, notRunning(id) // its exit is on the way
	}
	return r, p, err
}

// donated tells whether what was taken from a donor is the donor's: err is how the taking ended. It is asked
// afterwards. If the process is in the container's control group now, then the process was the container's all the
// time, and has not been reaped: no other process is put into that group.
func donated(id string, p *namespaces.Process, err error) error {
	in, unknown := p.In(id)
	switch {
	case unknown != nil:
		return errors.Join(err, unknown)
	case !in:
		return notRunning(id)
	}
	return err
}

func notRunning(id string) error {
	return classed.Errorf(errdefs.ErrConflict, "container %s is not running", id)
}
