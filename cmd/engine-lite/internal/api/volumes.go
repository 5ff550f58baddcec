package api

import (
	"context"
	"net/http"
	"slices"

	"github.com/moby/moby/api/types/volume"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
)

// Volumes are the calls about volumes.
type Volumes interface {
	// VolumeList also returns warnings for the user.
	VolumeList(ctx context.Context, f filters.Filters) ([]volume.Volume, []string, error)
	VolumeInspect(ctx context.Context, name string) (volume.Volume, error)
	VolumeCreate(ctx context.Context, r volume.CreateRequest) (volume.Volume, error)
	VolumeRemove(ctx context.Context, name string, force bool) error
	VolumesPrune(ctx context.Context, f filters.Filters) (volume.PruneReport, error)
}

// volumeHandlers answer the requests about volumes.
type volumeHandlers struct {
	engine Volumes
}

func (h volumeHandlers) routes() []route {
	return []route{
		{get, "/volumes", h.list},
		{get, "/volumes/{name}", h.inspect},
		{post, "/volumes/create", h.create},
		{post, "/volumes/prune", h.prune},
		{del, "/volumes/{name}", h.remove},
	}
}

func (h volumeHandlers) list(w *response, r *request) error {
	f, err := r.filters()
	if err != nil {
		return invalid("error reading volume filters: %v", err)
	}
	volumes, warnings, err := h.engine.VolumeList(r.Context(), f)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, volume.ListResponse{Volumes: list(volumes), Warnings: warnings})
}

func (h volumeHandlers) inspect(w *response, r *request) error {
	v, err := h.engine.VolumeInspect(r.Context(), r.name)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}

func (h volumeHandlers) create(w *response, r *request) error {
	var req volume.CreateRequest
	if err := r.decode(&req, true); err != nil {
		return err
	}
	if req.ClusterVolumeSpec != nil && !r.version.before(42) {
		return notSupported("ClusterVolumeSpec")
	}
	v, err := h.engine.VolumeCreate(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, v)
}

func (h volumeHandlers) remove(w *response, r *request) error {
	if err := h.engine.VolumeRemove(r.Context(), r.name, r.flag("force")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// prune removes all volumes that nobody uses for clients before 1.42, which know no anonymous ones.
func (h volumeHandlers) prune(w *response, r *request) error {
	f, err := r.filters()
	if err != nil {
		return err
	}
	if r.version.before(42) && !slices.Contains(f["all"], "true") {
		f["all"] = append(f["all"], "true")
	}
	report, err := h.engine.VolumesPrune(r.Context(), f)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, report)
}
