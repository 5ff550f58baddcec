// Package rootfs is what users ask about the files of a container: what has changed (diff), all of them (export), and an
// image that has them (commit).
package rootfs

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/background"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// Images have the containers' root filesystems.
type Images interface {
	Changes(ctx context.Context, containerID string) ([]container.FilesystemChange, error)
	Export(ctx context.Context, containerID string, w io.Writer) error
	Commit(ctx context.Context, containerID string, o images.CommitOptions) (digest.Digest, error)
}

// Config says what Files work with.
type Config struct {
	Images     Images
	Containers *containers.Registry
	Store      *store.Store
	Background *background.Group
	// Committed appends the events of an image that was made of a container. ref is its name, or empty.
	Committed func(ctx context.Context, id digest.Digest, ref string) error
}

// Files are the files of all containers. The methods may be called from any goroutine.
type Files struct{ Config }

// New returns the files of the containers. The caller closes what is in c after the last call.
func New(c Config) *Files { return &Files{c} }

// ContainerChanges lists what a container has changed in the files of its image; nil where that is nothing.
func (f *Files) ContainerChanges(ctx context.Context, ref string) ([]container.FilesystemChange, error) {
	o, err := f.Containers.Find(ref)
	if err != nil {
		return nil, err
	}
	list, err := f.Images.Changes(ctx, o.ID)
	if err != nil {
		return nil, err
	}
	return list, whole(o)
}

// ContainerExport writes all files of a container as a tar. Errors: Conflict for a container that is being removed. An
// error after the first byte means that the tar is not whole.
func (f *Files) ContainerExport(ctx context.Context, ref string, w io.Writer) error {
	o, err := f.Containers.Find(ref)
	if err != nil {
		return err
	}
	if o.Record().Status == record.StatusRemoving {
		return classed.Errorf(errdefs.ErrConflict, "You cannot export container %s which is being removed", o.ID)
	}
	err = f.Images.Export(ctx, o.ID, w)
	if err == nil {
		err = whole(o)
	}
	if err != nil {
		return fmt.Errorf("Error exporting container %s: %w", ref, err) //nolint:staticcheck // Docker's words
	}
	return o.Notify(ctx, "export", nil)
}

// whole fails for a container whose files may have been removed while they were read.
func whole(o *containers.Container) error {
	if v := o.View(); v.Gone || v.Record.Status == record.StatusRemoving {
		return classed.Errorf(errdefs.ErrConflict, "container %s was removed meanwhile", o.ID)
	}
	return nil
}
