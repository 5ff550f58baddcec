package api

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/exec"
)

// Execs are the calls about execs: processes that are added to a running container.
type Execs interface {
	ExecCreate(ctx context.Context, ref string, r container.ExecCreateRequest) (id string, err error)
	ExecStart(ctx context.Context, id string, o exec.StartOptions) error
	ExecInspect(ctx context.Context, id string) (exec.Inspect, error)
	ExecResize(ctx context.Context, id string, height, width uint32) error
}

// execHandlers answer the requests about execs.
type execHandlers struct {
	engine   Execs
	sessions *sessions
}

func (h execHandlers) routes() []route {
	return []route{
		{post, "/containers/{id}/exec", h.create},
		{post, "/exec/{id}/start", h.start},
		{post, "/exec/{id}/resize", h.resize},
		{get, "/exec/{id}/json", h.inspect},
	}
}

func (h execHandlers) create(w *response, r *request) error {
	var body container.ExecCreateRequest
	if err := r.decode(&body, true); err != nil {
		return err
	}
	id, err := h.engine.ExecCreate(r.Context(), r.name, body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, container.ExecCreateResponse{ID: id})
}

// start passes all three streams on. Which of them the process has was decided by
// create.
func (h execHandlers) start(w *response, r *request) error {
	var body container.ExecStartRequest
	if err := r.decode(&body, true); err != nil {
		return err
	}
	o := exec.StartOptions{Detach: body.Detach, ConsoleSize: body.ConsoleSize}
	if o.Detach {
		return okay(w, h.engine.ExecStart(r.Context(), r.name, o))
	}
	s := h.sessions.begin(w, r, true, true, true)
	defer s.close()
	// As dockerd: the request says whether the output is one stream, whatever the exec has.
	o.Open = func(bool) (engine.Streams, error) { return s.open(body.Tty) }
	return s.finish(h.engine.ExecStart(s.ctx, r.name, o))
}

func (h execHandlers) resize(w *response, r *request) error {
	height, width, err := r.size()
	if err != nil {
		return err
	}
	return okay(w, h.engine.ExecResize(r.Context(), r.name, height, width))
}

func (h execHandlers) inspect(w *response, r *request) error {
	e, err := h.engine.ExecInspect(r.Context(), r.name)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, e)
}
