package api

import (
	"context"
	"io"
	"net/http"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
)

// Images are the calls about images.
type Images interface {
	ImageList(ctx context.Context, all, sharedSize bool, f filters.Filters) ([]image.Summary, error)
	ImageInspect(ctx context.Context, ref string) (image.InspectResponse, error)
	ImageHistory(ctx context.Context, ref string) ([]image.HistoryResponseItem, error)
	ImageTag(ctx context.Context, source, target string) error
	ImageRemove(ctx context.Context, ref string, force, noPrune bool) ([]image.DeleteResponse, error)
	// ImagePrune removes the images that nobody uses.
	ImagePrune(ctx context.Context, f filters.Filters) (image.PruneReport, error)
	// ImageLoad, ImageImport and ImagePull call progress with each message for the user.
	ImageLoad(ctx context.Context, r io.Reader, quiet bool, progress func(jsonstream.Message) error) error
	ImageImport(ctx context.Context, r io.Reader, ref, message string, changes []string,
		progress func(jsonstream.Message) error) error
	ImagePull(ctx context.Context, ref, platform string, auth registry.AuthConfig,
		progress func(jsonstream.Message) error) error
	ImageSave(ctx context.Context, refs []string, w io.Writer) error
}

// imageHandlers answer the requests about images.
type imageHandlers struct {
	engine    Images
	streaming *streaming
}

func (h imageHandlers) routes() []route {
	return []route{
		{get, "/images/json", h.list},
		{post, "/images/create", h.create},
		{post, "/images/load", h.load},
		{post, "/images/prune", h.prune},
		{get, "/images/get", h.save},
		{get, "/images/{name...}/get", h.save},
		{get, "/images/{name...}/json", h.inspect},
		{get, "/images/{name...}/history", h.history},
		{post, "/images/{name...}/tag", h.tag},
		{del, "/images/{name...}", h.remove},
	}
}

func (h imageHandlers) history(w *response, r *request) error {
	if err := r.without("platform"); err != nil {
		return err
	}
	history, err := h.engine.ImageHistory(r.Context(), r.name)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list(history))
}

func (h imageHandlers) tag(w *response, r *request) error {
	target := r.query.Get("repo")
	if target == "" {
		return invalid("parameter repo is needed: the image's new name")
	}
	if tag := r.query.Get("tag"); tag != "" {
		target += ":" + tag
	}
	if err := h.engine.ImageTag(r.Context(), r.name, target); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// commit makes an image of a container. As in Docker, a body without a field is no configuration.
func (h containerHandlers) commit(w *response, r *request) error {
	var body struct{ *container.Config }
	if err := r.decode(&body, true); err != nil {
		return err
	}
	name, err := imageName(r.query.Get("repo"), r.query.Get("tag"))
	if err != nil {
		return err
	}
	of := r.query.Get("container")
	if of == "" {
		return invalid("invalid name or ID supplied: %q", of)
	}
	ctx, cancel := h.streaming.begin(r.Context())
	defer cancel()
	id, err := h.engine.ContainerCommit(ctx, of, engine.CommitOptions{
		Reference: name, Config: body.Config, Changes: r.query["changes"], Author: r.query.Get("author"),
		Comment: r.query.Get("comment"), Pause: r.flagOr("pause", true),
	})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, container.CommitResponse{ID: id})
}

// imageName joins the name of a new image with its tag; empty for an image without a name.
func imageName(repo, tag string) (string, error) {
	if repo == "" {
		return "", nil
	}
	named, err := reference.ParseNormalizedNamed(repo)
	if err != nil {
		return "", invalid("%v", err)
	}
	if _, ok := named.(reference.Digested); ok {
		return "", invalid("cannot import digest reference")
	}
	if tag != "" {
		if named, err = reference.WithTag(named, tag); err != nil {
			return "", invalid("%v", err)
		}
	}
	return reference.FamiliarString(reference.TagNameOnly(named)), nil
}

func (h imageHandlers) remove(w *response, r *request) error {
	if err := r.without("platforms"); err != nil {
		return err
	}
	removed, err := h.engine.ImageRemove(r.Context(), r.name, r.flag("force"), r.flag("noprune"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list(removed))
}

func (h imageHandlers) prune(w *response, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	report, err := h.engine.ImagePrune(r.Context(), filters)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, report)
}

func (h imageHandlers) load(w *response, r *request) error {
	if err := r.without("platform"); err != nil {
		return err
	}
	p := w.progress(r.Context())
	// As dockerd: clients read the archive's error from the stream.
	return p.finishInStream(h.engine.ImageLoad(r.Context(), r.Body, r.flag("quiet"), p.sendMessage))
}

// save sends the images that are named by the path, or by the parameter names.
func (h imageHandlers) save(w *response, r *request) error {
	if err := r.without("platform"); err != nil {
		return err
	}
	refs := r.query["names"]
	if r.name != "" {
		refs = []string{r.name}
	}
	if len(refs) == 0 {
		return invalid("parameter names is needed: the images to save")
	}
	return h.engine.ImageSave(r.Context(), refs, &tarBody{w: w, media: "application/x-tar"})
}

// tarBody begins an answer with the first byte. An error before that byte still
// gets a status of its own.
type tarBody struct {
	w     *response
	media string
}

var _ io.ReaderFrom = (*tarBody)(nil)

func (t *tarBody) begin() {
	if !t.w.begun() {
		t.w.Header().Set("Content-Type", t.media)
	}
}

// Write sends a part of the archive.
func (t *tarBody) Write(p []byte) (int, error) {
	t.begin()
	return t.w.Write(p)
}

// ReadFrom sends a part of the archive, without a copy of our own.
func (t *tarBody) ReadFrom(r io.Reader) (int64, error) {
	t.begin()
	return t.w.ReadFrom(r)
}
