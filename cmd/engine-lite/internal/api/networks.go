package api

import (
	"net/http"
	"slices"

	"github.com/moby/moby/api/types/volume"
)

func (h *Handler) networkList(w *response, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	networks, err := h.engine.NetworkList(r.Context(), filters)
	if err != nil {
		return err
	}
	networks = slices.Clone(networks)
	for i := range networks {
		completeNetwork(&networks[i].Network)
	}
	return writeJSON(w, http.StatusOK, list(networks))
}

func (h *Handler) networkInspect(w *response, r *request) error {
	n, err := h.engine.NetworkInspect(r.Context(), r.name)
	if err != nil {
		return err
	}
	completeNetwork(&n.Network)
	n.Containers = dict(n.Containers)
	if r.version.before(52) {
		n.Status = nil
	}
	return writeJSON(w, http.StatusOK, n)
}

// volumeList is empty: there are no volumes yet, and clients ask for them on
// the way to other things.
func (h *Handler) volumeList(w *response, r *request) error {
	if _, err := r.filters(); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, volume.ListResponse{Volumes: []volume.Volume{}, Warnings: []string{}})
}

func (h *Handler) volumeMissing(_ *response, r *request) error {
	return notFound("get %s: no such volume", r.name)
}
