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

// CheckpointOptions say where a checkpoint goes, and what becomes of the
// container.
type CheckpointOptions struct {
	// Root is the absolute path of a directory of checkpoints; it is made with
	// mode 0700 when it is needed. The checkpoint is the directory Root/Name,
	// which StartOptions.Checkpoint takes.
	Root string
	// Name must pass CheckID, and be free in Root.
	Name string
	// Exit ends the container with the checkpoint: its exit is told like any
	// other, with the code that the daemon knows. Else it runs on.
	Exit bool
	// What a container may have that isn't in a checkpoint by itself: open TCP
	// connections, unix sockets whose other end is outside, a terminal, locks
	// of files.
	OpenTCP, ExternalUnixSockets, Terminal, FileLocks bool
}

func (o *CheckpointOptions) check() error {
	if !filepath.IsAbs(o.Root) {
		return fmt.Errorf("root of checkpoints %q is not absolute: %w", o.Root, errdefs.ErrInvalidArgument)
	}
	return CheckID(o.Name)
}

// Checkpoint writes the running container's state to Root/Name. The directory
// appears there whole, or, after an error, not at all; a container that Exit
// was asked of may have ended then all the same, if the daemon's answer was
// lost. One checkpoint of a container is made at a time: a second one is
// refused with FailedPrecondition. AlreadyExists for a name that is taken.
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
		return fmt.Errorf("cannot checkpoint container %q: another checkpoint is being made: %w", ctr.id, errdefs.ErrFailedPrecondition)
	}
	ctr.rec.checkpointing = true
	return nil
}

func (ctr *Container) endCheckpoint() {
	ctr.mu.Lock()
	ctr.rec.checkpointing = false
	ctr.mu.Unlock()
}

// partial is where a checkpoint grows; who is the container, or "" for one that
// is being deleted. No name that passes CheckID is like it.
func partial(root, name, who string) string {
	return filepath.Join(root, "."+name+"~"+who)
}

// writeCheckpoint has write fill a directory, which takes the name's place when
// it is complete. The name is taken before, by an empty directory.
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
	if err := os.RemoveAll(growing); err != nil { // of an engine that was killed
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

// Checkpoints are the names of the checkpoints in root, sorted; those that are
// being made aren't among them. A root that isn't there has none.
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

// DeleteCheckpoint removes a checkpoint from root: at once from its name, then
// the files. It also frees a name that an engine which was killed had taken.
// NotFound where there is none.
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

// checkRestored refuses a directory that no task can be restored from.
func checkRestored(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("checkpoint %q is not an absolute path: %w", dir, errdefs.ErrInvalidArgument)
	}
	if isEmptyDir(dir) {
		return fmt.Errorf("no checkpoint in %q: %w", dir, errdefs.ErrNotFound)
	}
	return nil
}
