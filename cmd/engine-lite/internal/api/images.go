package api

import (
	"io"
	"net/http"
	"strings"

	"github.com/distribution/reference"
)

func (h *Handler) imageList(w *response, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	if err := r.without("shared-size"); err != nil {
		return err
	}
	if name := r.query.Get("filter"); name != "" && r.version.before(28) {
		filters["reference"] = append(filters["reference"], name)
	}
	images, err := h.engine.ImageList(r.Context(), r.flag("all"), filters)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, imageSummaries(images, r.version))
}

func (h *Handler) imageInspect(w *response, r *request) error {
	if err := r.without("platform"); err != nil {
		return err
	}
	img, err := h.engine.ImageInspect(r.Context(), r.name)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, inspectedImage(img, r.version))
}

func (h *Handler) imageHistory(w *response, r *request) error {
	if err := r.without("platform"); err != nil {
		return err
	}
	history, err := h.engine.ImageHistory(r.Context(), r.name)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list(history))
}

func (h *Handler) imageTag(w *response, r *request) error {
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

func (h *Handler) imageRemove(w *response, r *request) error {
	if err := r.without("platforms"); err != nil {
		return err
	}
	removed, err := h.engine.ImageRemove(r.Context(), r.name, r.flag("force"), r.flag("noprune"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list(removed))
}

// imageCreate is a pull (fromImage) or an import (fromSrc).
func (h *Handler) imageCreate(w *response, r *request) error {
	switch {
	case r.query.Get("fromImage") != "":
		return h.imagePull(w, r)
	case r.query.Get("fromSrc") != "":
		return h.imageImport(w, r)
	}
	return invalid("parameter fromImage or fromSrc is needed")
}

func (h *Handler) imagePull(w *response, r *request) error {
	ref, err := pullReference(r.query.Get("fromImage"), r.query.Get("tag"))
	if err != nil {
		return err
	}
	auth, err := r.registryAuth()
	if err != nil {
		return err
	}
	ctx, cancel := h.stream(r.Context())
	defer cancel()
	p := w.progress(ctx)
	return p.finish(h.engine.ImagePull(ctx, ref, r.query.Get("platform"), auth, p.tell))
}

// pullReference joins an image's name and its tag or digest. A name alone asks
// for every tag that the registry has.
func pullReference(image, tag string) (string, error) {
	switch {
	case strings.Contains(tag, ":"):
		image += "@" + tag
	case tag != "":
		image += ":" + tag
	}
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", invalid("invalid reference format: %q", image)
	}
	if reference.IsNameOnly(named) {
		return "", notSupported("pulling all tags of " + image)
	}
	return image, nil
}

func (h *Handler) imageImport(w *response, r *request) error {
	if r.query.Get("fromSrc") != "-" {
		return notSupported("importing an image from a URL")
	}
	if err := r.without("platform"); err != nil {
		return err
	}
	ref := r.query.Get("repo")
	if tag := r.query.Get("tag"); tag != "" && ref != "" {
		ref += ":" + tag
	}
	p := w.progress(r.Context())
	return p.finish(h.engine.ImageImport(r.Context(), r.Body, ref, r.query.Get("message"), r.query["changes"], p.tell))
}

func (h *Handler) imageLoad(w *response, r *request) error {
	if err := r.without("platform"); err != nil {
		return err
	}
	p := w.progress(r.Context())
	return p.finish(h.engine.ImageLoad(r.Context(), r.Body, r.flag("quiet"), p.tell))
}

// imageSave sends the images that the path or the parameter names tells.
func (h *Handler) imageSave(w *response, r *request) error {
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
	return h.engine.ImageSave(r.Context(), refs, &tarBody{w: w})
}

// tarBody begins an answer with the first byte, so that an error before it still
// has its status.
type tarBody struct {
	w *response
}

var _ io.ReaderFrom = (*tarBody)(nil)

func (t *tarBody) begin() {
	if !t.w.begun() {
		t.w.Header().Set("Content-Type", "application/x-tar")
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
