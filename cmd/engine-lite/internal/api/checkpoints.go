package api

import (
	"context"
	"net/http"
	"path"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/checkpoint"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// Checkpoints are the calls about checkpoints of containers. dir is the directory that has them; empty for the
// container's own.
type Checkpoints interface {
	CheckpointCreate(ctx context.Context, ref string, r checkpoint.CreateRequest) error
	CheckpointList(ctx context.Context, ref, dir string) ([]checkpoint.Summary, error)
	CheckpointDelete(ctx context.Context, ref, dir, id string) error
}

// checkpointHandlers answer the requests about checkpoints, which are experimental in Docker's API.
type checkpointHandlers struct {
	engine       Checkpoints
	experimental bool
}

func (h checkpointHandlers) routes() []route {
	return []route{
		{get, "/containers/{id}/checkpoints", h.guarded(h.list)},
		{post, "/containers/{id}/checkpoints", h.guarded(h.create)},
		{del, "/containers/{id}/checkpoints/*", h.guarded(h.remove)},
	}
}

// guarded refuses a request where the experimental ones are not answered.
func (h checkpointHandlers) guarded(handle handler) handler {
	if h.experimental {
		return handle
	}
	return func(*response, *request) error {
		return classed.Errorf(errdefs.ErrNotImplemented, "This experimental feature is disabled by default. "+
			"Start the Docker daemon in experimental mode in order to enable it.")
	}
}

func (h checkpointHandlers) list(w *response, r *request) error {
	all, err := h.engine.CheckpointList(r.Context(), r.name, r.query.Get("dir"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list(all))
}

func (h checkpointHandlers) create(w *response, r *request) error {
	var req checkpoint.CreateRequest
	if err := r.decode(&req, false); err != nil {
		return err
	}
	if err := h.engine.CheckpointCreate(r.Context(), r.name, req); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (h checkpointHandlers) remove(w *response, r *request) error {
	return done(w, h.engine.CheckpointDelete(r.Context(), r.name, r.query.Get("dir"), path.Base(r.URL.Path)))
}
