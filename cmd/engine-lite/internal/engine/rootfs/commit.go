package rootfs

import (
	"context"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/inspect"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/request"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/internal/retry"
)

// CommitOptions says what image is made of a container.
type CommitOptions struct {
	// Reference is the image's name, with or without a tag; empty for none.
	Reference       string
	Author, Comment string
	// Config is the image's configuration; what it leaves open is the container's. Nil is the container's own.
	Config *container.Config
	// Changes are Dockerfile instructions that change the configuration.
	Changes []string
	// Pause freezes the container while its files are read.
	Pause bool
}

// ContainerCommit makes an image of a container's image and what the container has changed, and returns the image's id.
// Errors: Conflict for a container that is being removed, InvalidArgument for a wrong change or name.
//
// The freeze is written down before it is done, so that the next engine thaws what a killed one froze. A container that
// ends, or is stopped, meanwhile is committed as it is then.
func (f *Files) ContainerCommit(ctx context.Context, ref string, o CommitOptions) (string, error) {
	c, err := f.Containers.Find(ref)
	if err != nil {
		return "", err
	}
	r := c.Record()
	if err := committable(r); err != nil {
		return "", err
	}
	if err := f.Store.Room(ctx); err != nil {
		return "", err
	}
	own := request.ImageConfig(inspect.Config(r.Config))
	config := request.ImageConfig(inspect.Config(r.Config))
	if o.Config != nil {
		config = request.ImageConfig(o.Config)
	}
	if err := images.ApplyChanges(&config, o.Changes); err != nil {
		return "", err
	}
	request.FillCommitted(&config, own)
	id, err := f.Images.Commit(ctx, c.ID, images.CommitOptions{
		Image: r.Image, Config: config, Reference: o.Reference,
		Author: o.Author, Comment: o.Comment, CreatedBy: strings.Join(r.Config.Cmd, " "),
		Freeze: func(ctx context.Context) (func(), error) { return f.freeze(ctx, c, o.Pause) },
	})
	if err != nil {
		return "", err
	}
	if err := f.Committed(ctx, id, o.Reference); err != nil {
		return "", err
	}
	name := ""
	if o.Reference != "" {
		name, _ = images.Familiar(o.Reference)
	}
	return id.String(), c.Notify(ctx, "commit", map[string]string{
		"comment": o.Comment, "imageID": id.String(), "imageRef": name,
	})
}

// committable refuses what cannot be committed.
func committable(r *record.Record) error {
	if r.Status == record.StatusRemoving {
		return classed.Errorf(errdefs.ErrConflict, "You cannot commit container %s which is being removed", r.ID)
	}
	return r.CheckReadable()
}

// freeze takes the container's operation lock until thaw, so that nobody starts or removes the container, and freezes the
// container's run. A container that somebody has paused stays paused. As in dockerd, one that cannot be frozen is
// committed all the same.
func (f *Files) freeze(ctx context.Context, c *containers.Container, pause bool) (thaw func(), err error) {
	if err := c.Lock(ctx); err != nil {
		return nil, err
	}
	r := c.Record()
	if c.View().Gone {
		err = record.NotFound(c.ID)
	} else {
		err = committable(r)
	}
	if err == nil && pause && r.Status == record.StatusRunning {
		err = f.pause(ctx, c)
	}
	thaw = func() {
		f.thaw(ctx, c)
		c.Unlock()
	}
	if err != nil {
		thaw()
		return nil, err
	}
	return thaw, nil
}

// pause writes down that a run will be frozen, and freezes it. Errors: those of the journal.
func (f *Files) pause(ctx context.Context, c *containers.Container) error {
	ctx, free := f.Background.Outlive(ctx)
	defer free()
	_, _, err := c.Commit(ctx, containers.Change{Mutate: func(r *record.Record) error {
		r.CommitPause = r.Generation
		return nil
	}})
	if err != nil {
		return err
	}
	ctr, err := c.Live()
	if err == nil {
		err = ctr.Pause(ctx)
	}
	if err != nil && c.Record().Running() {
		log.WithError(err).WithField("container", c.ID).Warn(
			"cannot pause a container for its commit; the commit goes on, and may have files that were just being written")
	}
	return nil
}

// thaw ends the freeze of a commit. The caller has the container's operation lock. Where that fails, it is tried again in
// the background.
func (f *Files) thaw(ctx context.Context, c *containers.Container) {
	ctx, free := f.Background.Outlive(ctx)
	defer free()
	if err := thaw(ctx, c); err != nil {
		log.WithError(err).WithField("container", c.ID).Warn(
			"cannot unpause a container after its commit; trying again in the background")
		f.ThawAfter(c, c.Record())
	}
}

// thaw thaws the run that a commit froze, if nobody else has.
func thaw(ctx context.Context, c *containers.Container) error {
	r := c.Record()
	switch {
	case !r.FrozenByCommit():
		return nil
	case r.Status == record.StatusRunning:
		return ForgetFreeze(ctx, c)
	}
	ctr, err := c.Live()
	if err != nil {
		return nil // the run has ended
	}
	return ctr.Resume(ctx)
}

// ForgetFreeze forgets the freeze of a commit: who pauses the container now is somebody else. A container that is gone has
// none. The caller has the container's operation lock.
func ForgetFreeze(ctx context.Context, c *containers.Container) error {
	_, _, err := c.Commit(ctx, containers.Change{Mutate: func(r *record.Record) error {
		r.CommitPause = 0
		return nil
	}})
	return containers.IgnoreGone(err)
}

// thawRetry is the pause between two tries to thaw a container.
const thawRetry = 500 * time.Millisecond

// ThawAfter thaws a container in the background that is paused by a commit, as soon as no operation is under way. The
// engine calls it for each container at its start, and after each pause: a freeze that an earlier engine asked for may
// take effect later than that. The goroutine ends when the container runs, or with the engine.
func (f *Files) ThawAfter(c *containers.Container, r *record.Record) {
	if !r.FrozenByCommit() || r.Status != record.StatusPaused {
		return
	}
	f.Background.Go(func() {
		ctx := f.Background.Context()
		if c.Lock(ctx) != nil {
			return
		}
		defer c.Unlock()
		for c.Record().Status == record.StatusPaused {
			err := thaw(ctx, c)
			if err == nil || retry.Sleep(ctx, thawRetry) != nil {
				return
			}
			log.WithError(err).WithField("container", c.ID).Debug(
				"cannot unpause a container that a commit has paused; trying again")
		}
	})
}
