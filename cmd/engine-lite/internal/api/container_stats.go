package api

import (
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

func (h containerHandlers) top(w *response, r *request) error {
	top, err := h.engine.ContainerTop(r.Context(), r.name, r.query.Get("ps_args"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, top)
}

// stats sends a line about once a second, or one answer.
func (h containerHandlers) stats(w *response, r *request) error {
	o := engine.StatsOptions{Stream: r.flagOr("stream", true), OneShot: r.flag("one-shot")}
	if o.Stream && o.OneShot {
		return invalid("cannot have stream=true and one-shot=true")
	}
	ctx, cancel := h.streaming.begin(r.Context())
	defer cancel()
	records := w.records(ctx, "application/json")
	err := h.engine.ContainerStats(ctx, r.name, o, func(s container.StatsResponse) error {
		return records.send(s)
	})
	return records.finish(err)
}
