package api

import "net/http"

// changes lists what has changed in a container's files. As in Docker, no changes are null.
func (h containerHandlers) changes(w *response, r *request) error {
	ctx, cancel := h.streaming.begin(r.Context())
	defer cancel()
	list, err := h.engine.ContainerChanges(ctx, r.name)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list)
}

// export sends all files of a container.
func (h containerHandlers) export(w *response, r *request) error {
	ctx, cancel := h.streaming.begin(r.Context())
	defer cancel()
	defer w.cutAfter(ctx)()
	return h.engine.ContainerExport(ctx, r.name, &tarBody{w: w, media: "application/octet-stream"})
}
