package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/users"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/files"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mounts"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// PackOptions say what a client gets of a container's files.
type PackOptions struct {
	Path string
	// Open begins the answer, once nothing can be refused any more. A write to what it returns has to end when ctx does.
	Open func(ctx context.Context, s container.PathStat) (io.Writer, error)
}

// UnpackOptions say where the archive of a client goes in a container.
type UnpackOptions struct {
	Path string
	// CopyUIDGID gives all files to the container's user. The name is Docker's.
	CopyUIDGID bool
	// NoOverwriteDirNonDir refuses to replace a directory by something else, and something else by a directory.
	NoOverwriteDirNonDir bool
	// Open returns the archive, which may be compressed. A read of it has to end when ctx does.
	Open func(ctx context.Context) io.Reader
}

// startGrace is how long a start waits for copies that are under way. Then the start ends them: the overlay can't be
// mounted beside theirs, and a client that takes its archive slowly, or sends none, shall not hold a start up.
const startGrace = 10 * time.Second

// ContainerStatPath describes what a container has at a path.
func (e *Engine) ContainerStatPath(ctx context.Context, ref, path string) (s container.PathStat, err error) {
	err = e.copyFiles(ctx, ref, path, func(c *files.Copy, _ *task) error {
		s, err = c.Root.Stat(path)
		return err
	})
	return s, err
}

// ContainerPack sends an archive of what a container has at a path.
func (e *Engine) ContainerPack(ctx context.Context, ref string, opts PackOptions) error {
	return e.copyFiles(ctx, ref, opts.Path, func(c *files.Copy, o *task) error {
		s, err := c.Root.Stat(files.Absolute(opts.Path))
		if err != nil {
			return err
		}
		if err := o.Notify(ctx, "archive-path", nil); err != nil {
			return err
		}
		w, err := opts.Open(c.Context, s)
		if err != nil {
			return err
		}
		return c.Root.Pack(c.Context, opts.Path, w)
	})
}

// ContainerUnpack unpacks a client's archive in a container. An error leaves what was unpacked so far.
func (e *Engine) ContainerUnpack(ctx context.Context, ref string, opts UnpackOptions) error {
	return e.copyFiles(ctx, ref, opts.Path, func(c *files.Copy, o *task) error {
		options := files.UnpackOptions{KeepKind: opts.NoOverwriteDirNonDir}
		if user := o.Record().Config.User; opts.CopyUIDGID && user != "" {
			rootfs, err := e.images.Mounts(ctx, o.ID)
			if err != nil {
				return err
			}
			u, err := users.Resolve(users.Layers(rootfs), user, nil)
			if err != nil {
				return err
			}
			options.Owner = &files.Owner{UID: int(u.UID), GID: int(u.GID)}
		}
		// The archive is expanded out here: nothing in the container's files has a part in that.
		plain, err := expand(opts.Open(c.Context))
		if err != nil {
			return err
		}
		defer plain.Close()
		if err := c.Root.Unpack(c.Context, opts.Path, plain, options); err != nil {
			return err
		}
		return o.Notify(ctx, "extract-to-dir", nil)
	})
}

// expand expands an archive, which may be empty: docker cp sends such a one.
func expand(archive io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReader(archive)
	if _, err := buffered.Peek(1); errors.Is(err, io.EOF) {
		return io.NopCloser(buffered), nil
	}
	return images.Decompress(buffered)
}

// copyFiles runs fn with the files of a container. Its errors are in dockerd's words.
func (e *Engine) copyFiles(ctx context.Context, ref, path string, fn func(c *files.Copy, o *task) error) error {
	o, err := e.find(ref)
	if err != nil {
		return err
	}
	if err := o.Record().CheckReadable(); err != nil { // nobody knows its mounts
		return err
	}
	lease := resources.Holder{Container: o.ID, Lease: fmt.Sprintf("copy-%d", e.copies.Add(1))}
	taken, err := e.resources.Acquire(ctx, o.Record(), lease)
	if err != nil {
		return err
	}
	defer e.giveBack(ctx, lease)
	c, err := e.beginCopy(ctx, o, taken)
	if err != nil {
		return err
	}
	// Before the answer: whoever mounts the overlay next, such as an export, must not find it mounted.
	defer func() {
		if err := c.Close(); err != nil {
			log.WithError(err).WithField("container", o.ID).Warn("cannot close the files of a container after a copy")
		}
	}()
	err = fn(c, o)
	switch {
	case err == nil:
		return nil
	case errors.Is(context.Cause(c.Context), files.ErrEnded):
		return classed.Errorf(errdefs.ErrConflict, "the copy has ended before its end: %v", files.ErrEnded)
	case errors.Is(err, os.ErrNotExist):
		return classed.Errorf(errdefs.ErrNotFound, "Could not find the file %s in container %s", path, ref)
	}
	return err
}

// beginCopy opens a container's files. Those of a running container are mounted: no start can be under way then that
// would mount them a second time, and so no lock is needed. Else the operation lock keeps starts and removals away
// until the files are open: a copy that is under way is seen by both, see endCopies.
func (e *Engine) beginCopy(ctx context.Context, o *task, taken resources.Contribution) (*files.Copy, error) {
	c, err := o.copies.Begin(ctx, func() (*files.Root, error) { return e.openFiles(ctx, o, taken, true) })
	if !errors.Is(err, files.ErrNotMounted) {
		return c, err
	}
	if err := o.Lock(ctx); err != nil {
		return nil, err
	}
	defer o.Unlock()
	if o.View().Gone {
		return nil, record.NotFound(o.ID)
	}
	if !o.Record().Up() { // the last run's overlay may be on its way to be unmounted
		if err := e.cleaned(ctx, o); err != nil {
			log.WithError(err).WithField("container", o.ID).Warn("a copy begins beside what the container's last run has left")
		}
	}
	return o.copies.Begin(ctx, func() (*files.Root, error) { return e.openFiles(ctx, o, taken, false) })
}

func (e *Engine) openFiles(
	ctx context.Context, o *task, taken resources.Contribution, mountedOnly bool,
) (*files.Root, error) {
	r := o.Record()
	rootfs, err := e.images.Mounts(ctx, o.ID)
	if err != nil {
		return nil, fmt.Errorf("root filesystem: %w", err)
	}
	shown, err := e.shownMounts(r, taken)
	if err != nil {
		return nil, err
	}
	return files.Open(files.Config{
		Dir: e.containerDir(o.ID), Rootfs: rootfs, Mounts: shown, ReadOnly: r.HostConfig.ReadonlyRootfs,
		MountedOnly: mountedOnly,
	})
}

// shownMounts are the mounts that a copy sees. As at dockerd, no tmpfs is among them, nor is /dev/shm. The files of
// /etc are there from the first start on.
func (e *Engine) shownMounts(r *record.Record, taken resources.Contribution) ([]specs.Mount, error) {
	dir := e.containerDir(r.ID)
	list, _, err := mounts.List(r, mounts.Place{Dir: dir, Own: e.ownDirs(), Sources: taken.Sources})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list, func(m specs.Mount) bool {
		ours := filepath.Dir(m.Source) == dir
		switch {
		case m.Type != "bind":
			return true
		case m.Destination == "/dev/shm":
			return ours || m.Source == m.Destination
		case ours:
			_, err := os.Lstat(m.Source)
			return errors.Is(err, os.ErrNotExist)
		}
		return false
	}), nil
}

// endCopies waits for the copies that are under way, and ends those that last longer than the grace. The caller has the
// operation lock, and the root filesystem is not mounted: no copy begins meanwhile.
func (o *task) endCopies(ctx context.Context, grace time.Duration) error {
	return o.copies.End(ctx, grace)
}
