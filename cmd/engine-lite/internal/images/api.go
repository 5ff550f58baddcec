package images

import (
	"cmp"
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	apiregistry "github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/journal"
)

// Backend is what the API needs of the images. *Store is one.
type Backend interface {
	Resolve(ctx context.Context, ref string) (Image, error)
	List(ctx context.Context, o ListOptions) ([]image.Summary, error)
	Inspect(ctx context.Context, ref string) (image.InspectResponse, error)
	History(ctx context.Context, ref string) ([]image.HistoryResponseItem, error)
	Tag(ctx context.Context, source, target string) error
	Remove(ctx context.Context, ref string, o RemoveOptions) ([]image.DeleteResponse, error)
	Load(ctx context.Context, r io.Reader) ([]LoadedImage, error)
	Import(ctx context.Context, r io.Reader, o ImportOptions) (digest.Digest, error)
	Pull(ctx context.Context, ref string, o PullOptions, progress func(jsonstream.Message)) error
	Save(ctx context.Context, refs []string, w io.Writer) ([]digest.Digest, error)
	Prune(ctx context.Context, o PruneOptions) (reclaimed int64, err error)
	TotalSize(ctx context.Context) (int64, error)
}

// Containers say which images are in use.
type Containers interface {
	// ImageUses returns the containers that use an image, those that are being created too.
	ImageUses(id digest.Digest) []Use
	// CountByImage returns how many containers each image has, by the image's id.
	CountByImage() map[string]int64
	// ImageNames returns what users called the images of all containers.
	ImageNames() []string
}

// API is the part of Docker's API that is about images. Its calls append Docker's events.
type API struct {
	images     Backend
	store      *store.Store
	containers Containers
	pruning    atomic.Bool
}

// NewAPI returns the calls about images. The caller closes images and store after it.
func NewAPI(images Backend, s *store.Store, c Containers) *API {
	return &API{images: images, store: s, containers: c}
}

var imageFilters = []string{"reference", "label", "dangling", "before", "since"}

// ImageList lists images. With sharedSize, it measures what each image shares with others.
func (a *API) ImageList(ctx context.Context, _, sharedSize bool, f filters.Filters) ([]image.Summary, error) {
	if err := filters.Check(f, imageFilters); err != nil {
		return nil, err
	}
	opts := ListOptions{References: f["reference"], Labels: f["label"], SharedSize: sharedSize}
	for _, v := range f["dangling"] {
		dangling := v == "true" || v == "1"
		if !dangling && v != "false" && v != "0" {
			return nil, classed.Errorf(errdefs.ErrInvalidArgument, "invalid filter 'dangling=[%s]'", v)
		}
		opts.Dangling = &dangling
	}
	for _, v := range f["before"] {
		opts.Before = v
	}
	for _, v := range f["since"] {
		opts.Since = v
	}
	list, err := a.images.List(ctx, opts)
	if err != nil {
		return nil, err
	}
	uses := a.containers.CountByImage()
	for i := range list {
		list[i].Containers = uses[list[i].ID]
	}
	return list, nil
}

// ImageInspect describes an image.
func (a *API) ImageInspect(ctx context.Context, ref string) (image.InspectResponse, error) {
	return a.images.Inspect(ctx, ref)
}

// ImageHistory lists how an image came to be.
func (a *API) ImageHistory(ctx context.Context, ref string) ([]image.HistoryResponseItem, error) {
	return a.images.History(ctx, ref)
}

// ImageTag gives an image another name.
func (a *API) ImageTag(ctx context.Context, source, target string) error {
	if err := a.images.Tag(ctx, source, target); err != nil {
		return err
	}
	full, _ := Familiar(target)
	return a.imageEvent(ctx, "tag", a.imageID(ctx, target), full)
}

// ImageRemove removes a name or an image. One that a container uses is kept.
func (a *API) ImageRemove(ctx context.Context, ref string, force, _ bool) ([]image.DeleteResponse, error) {
	id := a.imageID(ctx, ref)
	deleted, err := a.images.Remove(ctx, ref, RemoveOptions{Force: force, InUse: a.containers.ImageUses})
	if err != nil {
		return nil, err
	}
	return deleted, a.removalEvents(ctx, id, deleted)
}

// removalEvents appends the events of what was removed of an image.
func (a *API) removalEvents(ctx context.Context, id string, deleted []image.DeleteResponse) error {
	for _, d := range deleted {
		action, actor := "untag", id
		if d.Deleted != "" {
			action, actor = "delete", d.Deleted
		}
		if err := a.imageEvent(ctx, action, actor, cmp.Or(d.Untagged, d.Deleted)); err != nil {
			return err
		}
	}
	return nil
}

// ImageLoad reads an archive of images.
func (a *API) ImageLoad(ctx context.Context, r io.Reader, _ bool, progress func(jsonstream.Message) error) error {
	if err := a.store.Room(ctx); err != nil {
		return err
	}
	loaded, err := a.images.Load(ctx, r)
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
		if err := a.imageEvent(ctx, "load", l.ID.String(), l.ID.String()); err != nil {
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
func (a *API) ImageImport(ctx context.Context, r io.Reader, ref, message string, changes []string, progress func(jsonstream.Message) error) error {
	if err := a.store.Room(ctx); err != nil {
		return err
	}
	id, err := a.images.Import(ctx, r, ImportOptions{Reference: ref, Message: message, Changes: changes})
	if err != nil {
		return err
	}
	if ref != "" {
		full, _ := Familiar(ref)
		if err := a.imageEvent(ctx, "tag", id.String(), full); err != nil {
			return err
		}
	}
	if err := a.imageEvent(ctx, "import", id.String(), id.String()); err != nil {
		return err
	}
	return progress(jsonstream.Message{Status: id.String()})
}

// ImageCommitted appends the events of an image that was made of a container. ref is its name, or empty.
func (a *API) ImageCommitted(ctx context.Context, id digest.Digest, ref string) error {
	if err := a.imageEvent(ctx, "create", id.String(), id.String()); err != nil || ref == "" {
		return err
	}
	full, _ := Familiar(ref)
	return a.imageEvent(ctx, "tag", id.String(), full)
}

// ImagePull fetches an image from its registry.
func (a *API) ImagePull(ctx context.Context, ref, platform string, auth apiregistry.AuthConfig, progress func(jsonstream.Message) error) error {
	if err := a.store.Room(ctx); err != nil {
		return err
	}
	opts := PullOptions{Platform: platform}
	if auth != (apiregistry.AuthConfig{}) {
		password := auth.Password
		opts.Auth = &Auth{
			Username: auth.Username, Password: password,
			IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := a.images.Pull(ctx, ref, opts, func(m jsonstream.Message) {
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
	full, name := Familiar(ref)
	return a.imageEvent(ctx, "pull", full, name)
}

// ImageSave writes images as one archive.
func (a *API) ImageSave(ctx context.Context, refs []string, w io.Writer) error {
	saved, err := a.images.Save(ctx, refs, w)
	if err != nil {
		return err
	}
	for _, id := range saved {
		if err := a.imageEvent(ctx, "save", id.String(), id.String()); err != nil {
			return err
		}
	}
	return nil
}

// imageID is an image's id, or what the user called it where it isn't known.
func (a *API) imageID(ctx context.Context, ref string) string {
	img, err := a.images.Resolve(ctx, ref)
	if err != nil {
		return ref
	}
	return img.ID.String()
}

// imageEvent appends an event about an image, with the names that Docker gives it
// there.
func (a *API) imageEvent(ctx context.Context, action, id, name string) error {
	var labels map[string]string
	if img, err := a.images.Resolve(ctx, id); err == nil {
		labels = img.Config.Config.Labels
	}
	attributes := store.FittingLabels(labels)
	attributes["name"] = name
	return a.store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		tx.Append(journal.Event{Time: time.Now().UTC(), Type: "image", Action: action, ID: id, Attributes: attributes})
		return nil
	})
}
