package api

import (
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

func (h *Handler) containerAttach(w *response, r *request) error {
	o := engine.AttachOptions{
		Stdin:      r.flag("stdin"),
		Stdout:     r.flag("stdout"),
		Stderr:     r.flag("stderr"),
		Logs:       r.flag("logs"),
		Stream:     r.flag("stream"),
		DetachKeys: r.query.Get("detachKeys"),
	}
	s := h.newSession(w, r, o.Stdin, o.Stdout, o.Stderr)
	defer s.close()
	o.Open = s.open
	return s.finish(h.engine.ContainerAttach(s.ctx, r.name, o))
}

func (h *Handler) execCreate(w *response, r *request) error {
	var body container.ExecCreateRequest
	if err := r.decode(&body, false); err != nil {
		return err
	}
	id, err := h.engine.ExecCreate(r.Context(), r.name, body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, container.ExecCreateResponse{ID: id})
}

// execStart hands over all three streams: which of them the process has was
// said when it was created.
func (h *Handler) execStart(w *response, r *request) error {
	var body container.ExecStartRequest
	if err := r.decode(&body, true); err != nil {
		return err
	}
	o := engine.ExecStartOptions{Detach: body.Detach, ConsoleSize: body.ConsoleSize}
	if o.Detach {
		return okay(w, h.engine.ExecStart(r.Context(), r.name, o))
	}
	s := h.newSession(w, r, true, true, true)
	defer s.close()
	o.Open = s.open
	return s.finish(h.engine.ExecStart(s.ctx, r.name, o))
}

func (h *Handler) execResize(w *response, r *request) error {
	height, width, err := r.size()
	if err != nil {
		return err
	}
	return okay(w, h.engine.ExecResize(r.Context(), r.name, height, width))
}

func (h *Handler) execInspect(w *response, r *request) error {
	e, err := h.engine.ExecInspect(r.Context(), r.name)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, e)
}

// okay answers a call that has nothing to tell, where Docker's status is 200.
func okay(w *response, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusOK)
	}
	return err
}
