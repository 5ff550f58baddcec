// Package checkpoints is "docker checkpoint": the states of running containers in directories, from which the containers
// start again.
//
// A directory appears when its checkpoint is complete: see libcontainerd. Without a directory of the user's choice, a
// container's checkpoints are in the container's own directory, and go with the container.
package checkpoints

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/checkpoint"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Config is what checkpoints need of their engine.
type Config struct {
	Containers *containers.Registry
	// Dir returns the directory of a container.
	Dir func(containerID string) string
	// Outlive returns a context for what goes on when its caller has gone, and a function that frees it.
	Outlive func(ctx context.Context) (context.Context, context.CancelFunc)
}

// Checkpoints are those of one engine. Its methods may be called from any goroutine.
type Checkpoints struct{ c Config }

// New returns the checkpoints of an engine.
func New(c Config) *Checkpoints { return &Checkpoints{c} }

// idChars are the characters of an id, in the form in which Docker's error has them.
const idChars = "[a-zA-Z0-9][a-zA-Z0-9_.-]"

var validID = regexp.MustCompile("^" + idChars + "+$")

// CheckID refuses what is no id of a checkpoint: InvalidArgument.
func CheckID(id string) error {
	if !validID.MatchString(id) || strings.HasSuffix(id, ".") {
		return classed.Errorf(errdefs.ErrInvalidArgument, "invalid checkpoint ID %q, only %s are allowed", id, idChars)
	}
	return nil
}

// root is the directory that has the checkpoints of a container.
func (k *Checkpoints) root(containerID, dir string) (string, error) {
	switch {
	case dir == "":
		return filepath.Join(k.c.Dir(containerID), "checkpoints"), nil
	case !filepath.IsAbs(dir):
		return "", classed.Errorf(errdefs.ErrInvalidArgument, "checkpoint directory %q is not an absolute path", dir)
	}
	return filepath.Clean(dir), nil
}

// find returns a container, and the directory of its checkpoints.
func (k *Checkpoints) find(ref, dir string) (*containers.Container, string, error) {
	o, err := k.c.Containers.Find(ref)
	if err != nil {
		return nil, "", err
	}
	root, err := k.root(o.ID, dir)
	return o, root, err
}

// CheckpointCreate writes the state of a running container to a directory. With Exit, the container ends then. The
// container's other operations wait meanwhile. Errors: InvalidArgument, Conflict for a container that does not run or
// an id that is taken, and those of the runtime daemon.
func (k *Checkpoints) CheckpointCreate(ctx context.Context, ref string, req checkpoint.CreateRequest) error {
	if err := CheckID(req.CheckpointID); err != nil {
		return err
	}
	o, root, err := k.find(ref, req.CheckpointDir)
	if err != nil {
		return err
	}
	if err := o.Lock(ctx); err != nil {
		return err
	}
	defer o.Unlock()
	ctr, err := o.Live()
	if err != nil {
		return classed.Errorf(errdefs.ErrConflict, "container %s is not running", o.ID)
	}
	if req.CheckpointDir == "" { // only the holder of the container's lock writes there
		if err := discardPart(root, req.CheckpointID); err != nil {
			return err
		}
	}
	ctx, free := k.c.Outlive(ctx)
	defer free()
	err = ctr.Checkpoint(ctx, libcontainerd.CheckpointOptions{Root: root, Name: req.CheckpointID, Exit: req.Exit, Terminal: true})
	if errdefs.IsAlreadyExists(err) {
		return classed.Errorf(errdefs.ErrConflict,
			"cannot checkpoint container %s: checkpoint with name %s already exists for container %[1]s", ref, req.CheckpointID)
	}
	if err != nil {
		return fmt.Errorf("Cannot checkpoint container %s: %w", ref, err) //nolint:staticcheck // Docker's words
	}
	return o.Notify(ctx, "checkpoint", nil)
}

// discardPart removes what is left of a checkpoint that a killed engine was writing.
func discardPart(root, id string) error {
	complete, err := libcontainerd.Checkpoints(root)
	if err != nil || slices.Contains(complete, id) {
		return err
	}
	return containers.IgnoreGone(libcontainerd.DeleteCheckpoint(root, id))
}

// CheckpointList returns the complete checkpoints of a container, ordered by name.
func (k *Checkpoints) CheckpointList(_ context.Context, ref, dir string) ([]checkpoint.Summary, error) {
	_, root, err := k.find(ref, dir)
	if err != nil {
		return nil, err
	}
	names, err := libcontainerd.Checkpoints(root)
	list := make([]checkpoint.Summary, len(names))
	for n, name := range names {
		list[n].Name = name
	}
	return list, err
}

// CheckpointDelete removes a checkpoint. Errors: InvalidArgument, and NotFound.
func (k *Checkpoints) CheckpointDelete(ctx context.Context, ref, dir, id string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	o, root, err := k.find(ref, dir)
	if err != nil {
		return err
	}
	if err := o.Lock(ctx); err != nil {
		return err
	}
	defer o.Unlock()
	if err := libcontainerd.DeleteCheckpoint(root, id); !errdefs.IsNotFound(err) {
		return err
	}
	return missing(id, ref)
}

// Path returns the directory of a complete checkpoint, for a start. The caller has checked the id. Errors:
// InvalidArgument for a directory that is no absolute path, and NotFound.
func (k *Checkpoints) Path(containerID, dir, id string) (string, error) {
	root, err := k.root(containerID, dir)
	if err != nil {
		return "", err
	}
	names, err := libcontainerd.Checkpoints(root)
	if err == nil && !slices.Contains(names, id) {
		err = missing(id, containerID)
	}
	return filepath.Join(root, id), err
}

func missing(id, ref string) error {
	return classed.Errorf(errdefs.ErrNotFound, "checkpoint %s does not exist for container %s", id, ref)
}
