package engine

import (
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/namespaces"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mounts"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// joined are the namespaces of other containers that a run takes part in. They are held open until the OCI runtime has
// joined them: the spec has paths of this process's descriptors, /proc/PID/fd/N, and no pid of a container, which
// another process may have by then.
type joined struct {
	namespaces []specs.LinuxNamespace
	files      []*os.File
}

// take opens the namespace of a process, by its name in /proc/PID/ns.
func (j *joined) take(p *namespaces.Process, kind specs.LinuxNamespaceType, name string) error {
	f, err := p.Namespace(name)
	if err != nil {
		return err
	}
	j.files = append(j.files, f)
	j.namespaces = append(j.namespaces, specs.LinuxNamespace{
		Type: kind, Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()),
	})
	return nil
}

func (j *joined) close() {
	for _, f := range j.files {
		f.Close()
	}
}

// join makes what a container's next run shares with other containers: it takes namespaces, which the caller closes,
// and mounts shared memory, which unshare takes away after the run, or after an error. It returns the errors of dockerd.
func (e *Engine) join(r *record.Record) (*joined, error) {
	j, h := &joined{}, r.HostConfig
	if id := h.IpcMode.Container(); id != "" {
		if err := e.joinIPC(j, r, id); err != nil {
			j.close()
			return nil, fmt.Errorf("failed to join IPC namespace: %w", err)
		}
	} else if h.ShmOnHost() {
		if err := mounts.MountShm(e.containerDir(r.ID), h.ShmSize); err != nil {
			return nil, err
		}
	}
	if id := h.PidMode.Container(); id != "" {
		if err := e.joinPID(j, id); err != nil {
			j.close()
			return nil, classed.Errorf(errdefs.ErrInternal, "failed to join PID namespace: %v", err)
		}
	}
	return j, nil
}

// unshare takes away what join has mounted. The container doesn't run.
func (e *Engine) unshare(id string) error { return mounts.UnmountShm(e.containerDir(id)) }

func (e *Engine) joinPID(j *joined, id string) error {
	_, p, err := e.donor(id)
	if err != nil {
		return err
	}
	defer p.Close()
	return donated(id, p, j.take(p, specs.PIDNamespace, "pid"))
}

// joinIPC also mounts the donor's shared memory. The donor's mount goes after its exit only, and so after the process
// that donated finds.
func (e *Engine) joinIPC(j *joined, r *record.Record, id string) error {
	donor, p, err := e.donor(id)
	if err != nil {
		return err
	}
	defer p.Close()
	err = j.take(p, specs.IPCNamespace, "ipc")
	shared, shmErr := mounts.ShareShm(e.containerDir(r.ID), e.containerDir(id), donor.HostConfig)
	if err := donated(id, p, errors.Join(err, shmErr)); err != nil {
		return err
	}
	if !shared {
		return classed.Errorf(errdefs.ErrInvalidArgument,
			"container %s: non-shareable IPC (hint: use IpcMode:shareable for the donor container)", id)
	}
	return nil
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
