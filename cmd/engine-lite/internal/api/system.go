package api

import (
	"io"
	"maps"
	"net/http"
	"slices"
)

// ping tells what clients negotiate by, in headers.
func (h *Handler) ping(w *response, r *request) error {
	header := w.Header()
	header.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	header.Set("Pragma", "no-cache")
	// Version 1 is the builder without BuildKit: clients then build with a
	// plain request, which is refused in words, and open no session.
	header.Set("Builder-Version", "1")
	header.Set("Swarm", "inactive")
	header.Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		header.Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	_, err := io.WriteString(w, "OK")
	return err
}

func (h *Handler) version(w *response, r *request) error {
	v, err := h.engine.Version(r.Context())
	if err != nil {
		return err
	}
	v.APIVersion, v.MinAPIVersion = MaxVersion, MinVersion
	v.Components = slices.Clone(v.Components)
	for i, c := range v.Components {
		if c.Name != "Engine" {
			continue
		}
		details := dict(maps.Clone(c.Details))
		details["ApiVersion"], details["MinAPIVersion"] = MaxVersion, MinVersion
		v.Components[i].Details = details
	}
	return writeJSON(w, http.StatusOK, v)
}

func (h *Handler) info(w *response, r *request) error {
	info, err := h.engine.Info(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, informed(info, r.version))
}
