package api

import (
	"cmp"
	"strings"

	"github.com/distribution/reference"
)

// create pulls an image (fromImage) or imports one (fromSrc).
func (h imageHandlers) create(w *response, r *request) error {
	switch {
	case r.query.Get("fromImage") != "":
		return h.pull(w, r)
	case r.query.Get("fromSrc") != "":
		return h.importTar(w, r)
	}
	return invalid("parameter fromImage or fromSrc is needed")
}

func (h imageHandlers) pull(w *response, r *request) error {
	ref, err := pullReference(r.query.Get("fromImage"), r.query.Get("tag"))
	if err != nil {
		return err
	}
	auth, err := r.registryAuth()
	if err != nil {
		return err
	}
	ctx, cancel := h.streaming.begin(r.Context())
	defer cancel()
	p := w.progress(ctx)
	return p.finish(h.engine.ImagePull(ctx, ref, r.query.Get("platform"), auth, p.sendMessage))
}

// pullReference joins an image's name and its tag or digest. A name alone would mean
// all tags that the registry has.
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

func (h imageHandlers) importTar(w *response, r *request) error {
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
	message, changes := cmp.Or(r.query.Get("message"), "Imported from -"), r.query["changes"]
	return p.finish(h.engine.ImageImport(r.Context(), r.Body, ref, message, changes, p.sendMessage))
}
