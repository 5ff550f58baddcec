package engine

import (
	"cmp"
	"context"
	"io"
	"maps"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/journal"
)

var imageFilters = []string{"reference", "label", "dangling", "before", "since"}

// ImageList lists images.
func (e *Engine) ImageList(ctx context.Context, _ bool, f Filters) ([]image.Summary, error) {
	if err := checkFilters(f, imageFilters); err != nil {
		return nil, err
	}
	opts := images.ListOptions{References: f["reference"], Labels: f["label"]}
	for _, v := range f["dangling"] {
		dangling := v == "true" || v == "1"
		if !dangling && v != "false" && v != "0" {
			return nil, classed.Errorf(errdefs.ErrInvalidArgument, "invalid filter 'dangling=%s'", v)
		}
		opts.Dangling = &dangling
	}
	for _, v := range f["before"] {
		opts.Before = v
	}
	for _, v := range f["since"] {
		opts.Since = v
	}
	list, err := e.images.List(ctx, opts)
	if err != nil {
		return nil, err
	}
	uses := map[string]int64{}
	for _, r := range e.roster.sorted() {
		uses[r.Image]++
	}
	for i := range list {
		list[i].Containers = uses[list[i].ID]
	}
	return list, nil
}

// ImageInspect describes an image.
func (e *Engine) ImageInspect(ctx context.Context, ref string) (image.InspectResponse, error) {
	return e.images.Inspect(ctx, ref)
}

// ImageHistory lists how an image came to be.
func (e *Engine) ImageHistory(ctx context.Context, ref string) ([]image.HistoryResponseItem, error) {
	return e.images.History(ctx, ref)
}

// ImageTag gives an image another name.
func (e *Engine) ImageTag(ctx context.Context, source, target string) error {
	if err := e.images.Tag(ctx, source, target); err != nil {
		return err
	}
	full, _ := images.Familiar(target)
	return e.imageEvent(ctx, "tag", e.imageID(ctx, target), full)
}

// ImageRemove removes a name or an image. One that a container uses is kept.
func (e *Engine) ImageRemove(ctx context.Context, ref string, force, _ bool) ([]image.DeleteResponse, error) {
	id := e.imageID(ctx, ref)
	deleted, err := e.images.Remove(ctx, ref, images.RemoveOptions{Force: force, InUse: e.usesOf})
	if err != nil {
		return nil, err
	}
	for _, d := range deleted {
		action, actor := "untag", id
		if d.Deleted != "" {
			action, actor = "delete", d.Deleted
		}
		if err := e.imageEvent(ctx, action, actor, cmp.Or(d.Untagged, d.Deleted)); err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

func (e *Engine) usesOf(id digest.Digest) []images.Use {
	var uses []images.Use
	for _, o := range e.roster.all() { // those that are being created too
		if r := o.record(); r.Image == id.String() {
			uses = append(uses, images.Use{ContainerID: r.ID, Running: r.Running()})
		}
	}
	return uses
}

// ImageLoad reads an archive of images.
func (e *Engine) ImageLoad(ctx context.Context, r io.Reader, _ bool, progress func(jsonstream.Message) error) error {
	if err := e.store.Room(ctx); err != nil {
		return err
	}
	loaded, err := e.images.Load(ctx, r)
	if err != nil {
		return err
	}
	for _, l := range loaded {
		lines := []string{"Loaded image ID: " + l.ID.String() + "\n"}
		if len(l.Names) > 0 {
			lines = nil
		}
		for _, name := range l.Names {
			lines = append(lines, "Loaded image: "+name+"\n")
		}
		if err := e.imageEvent(ctx, "load", l.ID.String(), l.ID.String()); err != nil {
			return err
		}
		for _, line := range lines {
			if err := progress(jsonstream.Message{Stream: line}); err != nil {
				return err
			}
		}
	}
	return nil
}

// ImageImport makes an image of the tar of a file tree.
func (e *Engine) ImageImport(ctx context.Context, r io.Reader, ref, message string, changes []string, progress func(jsonstream.Message) error) error {
	if err := e.store.Room(ctx); err != nil {
		return err
	}
	id, err := e.images.Import(ctx, r, images.ImportOptions{Reference: ref, Message: message, Changes: changes})
	if err != nil {
		return err
	}
	if err := e.imageEvent(ctx, "import", id.String(), id.String()); err != nil {
		return err
	}
	return progress(jsonstream.Message{Status: id.String()})
}

// ImagePull fetches an image from its registry.
func (e *Engine) ImagePull(ctx context.Context, ref, platform string, auth registry.AuthConfig, progress func(jsonstream.Message) error) error {
	if err := e.store.Room(ctx); err != nil {
		return err
	}
	opts := images.PullOptions{Platform: platform}
	if auth != (registry.AuthConfig{}) {
		password := auth.Password
		opts.Auth = &images.Auth{
			Username: auth.Username, Password: password,
			IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := e.images.Pull(ctx, ref, opts, func(m jsonstream.Message) {
		if err := progress(m); err != nil {
			cancel(err) // nobody listens any more
		}
	})
	if errdefs.IsUnauthorized(err) {
		// A 401 would make clients ask for a login, and those without a terminal wait
		// for it for ever. Docker has "not found" here too.
		return classed.Errorf(errdefs.ErrNotFound, "%v", err)
	}
	if err != nil {
		return err
	}
	full, name := images.Familiar(ref)
	return e.imageEvent(ctx, "pull", full, name)
}

// ImageSave writes images as one archive.
func (e *Engine) ImageSave(ctx context.Context, refs []string, w io.Writer) error {
	var ids []string
	for _, ref := range refs {
		ids = append(ids, e.imageID(ctx, ref))
	}
	if err := e.images.Save(ctx, refs, w); err != nil {
		return err
	}
	for _, id := range ids {
		if err := e.imageEvent(ctx, "save", id, id); err != nil {
			return err
		}
	}
	return nil
}

// imageID is an image's id, or what the user called it where it isn't known.
func (e *Engine) imageID(ctx context.Context, ref string) string {
	img, err := e.images.Resolve(ctx, ref)
	if err != nil {
		return ref
	}
	return img.ID.String()
}

// imageEvent appends an event about an image, with the names that Docker gives it
// there.
func (e *Engine) imageEvent(ctx context.Context, action, id, name string) error {
	a := map[string]string{"name": name}
	if img, err := e.images.Resolve(ctx, id); err == nil {
		maps.Copy(a, img.Config.Config.Labels)
		a["name"] = name
	}
	return e.store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		tx.Append(journal.Event{Time: time.Now().UTC(), Type: "image", Action: action, ID: id, Attributes: a})
		return nil
	})
}
