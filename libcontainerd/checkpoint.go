package libcontainerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// CheckpointOptions say where a checkpoint goes, and whether the container runs on.
type CheckpointOptions struct {
	// Root is the absolute path of a directory of checkpoints. Checkpoint makes it, with mode 0700, if it does not
	// exist. The checkpoint is the directory Root/Name, whose path StartOptions.Checkpoint takes.
	Root string
	// Name must pass CheckID. Root must have no checkpoint of that name.
	Name string
	// Exit ends the container with the checkpoint. The backend gets its exit like any other, with the code that the
	// daemon knows. Else the container runs on.
	Exit bool
	// A container with open TCP connections, unix sockets whose other end is outside of it, a terminal, or file
	// locks can only be checkpointed with the field for these.
	OpenTCP, ExternalUnixSockets, Terminal, FileLocks bool
}

func (o *CheckpointOptions) check() error {
	if !filepath.IsAbs(o.Root) {
		return fmt.Errorf("root of checkpoints %q is not absolute: %w", o.Root, errdefs.ErrInvalidArgument)
	}
	return CheckID(o.Name)
}

// Checkpoint writes the state of the running container to Root/Name. The directory appears there when it is
// complete, and after an error not at all. After an error with o.Exit the container may have ended all the same, if
// the answer of the daemon was lost.
//
// Errors: FailedPrecondition where the container does not run, or another checkpoint of it is being made.
// AlreadyExists for a name that is taken. InvalidArgument for a wrong root or name. Others are those of the daemon,
// such as NotImplemented where it can't make checkpoints, and of the file system.
func (ctr *Container) Checkpoint(ctx context.Context, o CheckpointOptions) error {
	if err := o.check(); err != nil {
		return ctr.failed("checkpoint", err)
	}
	if err := ctr.beginCheckpoint(); err != nil {
		return err
	}
	defer ctr.endCheckpoint()
	return ctr.failed("checkpoint", writeCheckpoint(o.Root, o.Name, ctr.id, func(dir string) error {
		return ctr.client.daemon.Checkpoint(ctx, ctr.id, CheckpointConfig{
			Dir: dir, Exit: o.Exit, OpenTCP: o.OpenTCP,
			ExternalUnixSockets: o.ExternalUnixSockets, Terminal: o.Terminal, FileLocks: o.FileLocks,
		})
	}))
}

func (ctr *Container) beginCheckpoint() error {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	if err := ctr.rec.allow("checkpoint", StatusRunning); err != nil {
		return err
	}
	if ctr.rec.checkpointing {
		return fmt.Errorf("cannot checkpoint container %q: another checkpoint is being made: %w",
			ctr.id, errdefs.ErrFailedPrecondition)
	}
	ctr.rec.checkpointing = true
	return nil
}

func (ctr *Container) endCheckpoint() {
	ctr.mu.Lock()
	ctr.rec.checkpointing = false
	ctr.mu.Unlock()
}

// partial returns the path of a checkpoint that is being made of the container with that id, or, with the id "", of
// one that is being deleted. No name that passes CheckID is like it.
func partial(root, name, id string) string {
	return filepath.Join(root, "."+name+"~"+id)
}

// writeCheckpoint calls write to fill a directory, and renames that directory to root/name when it is complete.
// Until then an empty directory holds the name.
func writeCheckpoint(root, name, id string, write func(dir string) error) (err error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return fmt.Errorf("cannot make the root of checkpoints: %w", err)
	}
	dir, growing := filepath.Join(root, name), partial(root, name, id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("checkpoint %q exists in %q, or is being made: %w", name, root, errdefs.ErrAlreadyExists)
		}
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(growing), os.Remove(dir))
		}
	}()
	if err := os.RemoveAll(growing); err != nil { // left by an engine that was killed
		return err
	}
	if err := os.Mkdir(growing, 0o700); err != nil {
		return err
	}
	if err := write(growing); err != nil {
		return err
	}
	// os.Rename refuses to replace a directory, even an empty one.
	if err := unix.Rename(growing, dir); err != nil {
		return &os.LinkError{Op: "rename", Old: growing, New: dir, Err: err}
	}
	return nil
}

// Checkpoints returns the names of the complete checkpoints in root, sorted. A root that does not exist has none.
// Errors are those of the file system.
func Checkpoints(root string) ([]string, error) {
	all, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot list checkpoints: %w", err)
	}
	var names []string
	for _, e := range all {
		if e.IsDir() && CheckID(e.Name()) == nil && !isEmptyDir(filepath.Join(root, e.Name())) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func isEmptyDir(path string) bool {
	d, err := os.Open(path)
	if err != nil {
		return true // it is gone
	}
	defer d.Close()
	_, err = d.ReadDir(1)
	return err != nil
}

// DeleteCheckpoint removes a checkpoint from root: it frees the name first, then deletes the files. It also frees a
// name that is left of a checkpoint whose engine was killed. Errors: NotFound where root has no such name,
// InvalidArgument for a name that can't be one, and those of the file system.
func DeleteCheckpoint(root, name string) error {
	if err := CheckID(name); err != nil {
		return err
	}
	going := partial(root, name, "")
	if err := os.RemoveAll(going); err != nil {
		return fmt.Errorf("cannot delete checkpoint %q: %w", name, err)
	}
	if err := os.Rename(filepath.Join(root, name), going); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("no checkpoint %q in %q: %w", name, root, errdefs.ErrNotFound)
		}
		return fmt.Errorf("cannot delete checkpoint %q: %w", name, err)
	}
	if err := os.RemoveAll(going); err != nil {
		return fmt.Errorf("cannot delete checkpoint %q: %w", name, err)
	}
	return nil
}

// checkRestored returns an error for a directory that no task can be restored from: InvalidArgument for a relative
// path, NotFound for one that is absent or empty.
func checkRestored(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("checkpoint %q is not an absolute path: %w", dir, errdefs.ErrInvalidArgument)
	}
	if isEmptyDir(dir) {
		return fmt.Errorf("no checkpoint in %q: %w", dir, errdefs.ErrNotFound)
	}
	return nil
}
