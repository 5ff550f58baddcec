package api

import "net/http"

func (h containerHandlers) resize(w *response, r *request) error {
	height, width, err := r.size()
	if err != nil {
		return err
	}
	if err := h.engine.ContainerResize(r.Context(), r.name, height, width); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}
