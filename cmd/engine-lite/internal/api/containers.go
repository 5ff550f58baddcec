package api

import (
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

func (h *Handler) containerList(w *response, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	limit, err := r.number("limit")
	if err != nil {
		return err
	}
	if err := r.without("since", "before"); err != nil {
		return err
	}
	o := engine.ListOptions{All: r.flag("all"), Size: r.flag("size"), Filters: filters}
	if limit != nil {
		o.Limit = max(*limit, 0)
	}
	containers, err := h.engine.ContainerList(r.Context(), o)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, summaries(containers, r.version))
}

func (h *Handler) containerInspect(w *response, r *request) error {
	c, err := h.engine.ContainerInspect(r.Context(), r.name, r.flag("size"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, inspected(c, r.version))
}

func (h *Handler) containerStart(w *response, r *request) error {
	if err := r.without("checkpoint", "checkpoint-dir"); err != nil {
		return err
	}
	return done(w, h.engine.ContainerStart(r.Context(), r.name))
}

func (h *Handler) containerStop(w *response, r *request) error {
	o, err := r.stopOptions()
	if err != nil {
		return err
	}
	return done(w, h.engine.ContainerStop(r.Context(), r.name, o))
}

func (h *Handler) containerRestart(w *response, r *request) error {
	o, err := r.stopOptions()
	if err != nil {
		return err
	}
	return done(w, h.engine.ContainerRestart(r.Context(), r.name, o))
}

func (r *request) stopOptions() (engine.StopOptions, error) {
	timeout, err := r.number("t")
	return engine.StopOptions{Signal: r.query.Get("signal"), Timeout: timeout}, err
}

func (h *Handler) containerKill(w *response, r *request) error {
	return done(w, h.engine.ContainerKill(r.Context(), r.name, r.query.Get("signal")))
}

func (h *Handler) containerPause(w *response, r *request) error {
	return done(w, h.engine.ContainerPause(r.Context(), r.name))
}

func (h *Handler) containerUnpause(w *response, r *request) error {
	return done(w, h.engine.ContainerUnpause(r.Context(), r.name))
}

func (h *Handler) containerRename(w *response, r *request) error {
	name := r.query.Get("name")
	if name == "" {
		return invalid("parameter name is needed: the container's new name")
	}
	return done(w, h.engine.ContainerRename(r.Context(), r.name, name))
}

func (h *Handler) containerRemove(w *response, r *request) error {
	if err := r.without("link"); err != nil {
		return err
	}
	o := engine.RemoveOptions{Force: r.flag("force"), Volumes: r.flag("v")}
	return done(w, h.engine.ContainerRemove(r.Context(), r.name, o))
}

func (h *Handler) containerResize(w *response, r *request) error {
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

func (h *Handler) containerTop(w *response, r *request) error {
	top, err := h.engine.ContainerTop(r.Context(), r.name, r.query.Get("ps_args"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, top)
}

// containerWait answers with its header before it waits: clients start the
// container only then.
func (h *Handler) containerWait(w *response, r *request) error {
	condition := container.WaitCondition(r.query.Get("condition"))
	switch condition {
	case "":
		condition = container.WaitConditionNotRunning
	case container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
	default:
		return invalid("invalid condition: %q", condition)
	}
	ctx, cancel := h.stream(r.Context())
	defer cancel()
	answers, err := h.engine.ContainerWait(ctx, r.name, condition)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Flush()
	answer, ok := <-answers
	if !ok {
		// Without a body, and without its proper end: no client may take it
		// for an exit.
		panic(http.ErrAbortHandler)
	}
	line, err := encodeJSON(answer)
	if err != nil {
		return err
	}
	_, err = w.Write(line)
	return err
}

// containerStats sends a line about once a second, or one answer.
func (h *Handler) containerStats(w *response, r *request) error {
	stream, oneShot := r.flagOr("stream", true), r.flag("one-shot")
	if stream && oneShot {
		return invalid("cannot have stream=true and one-shot=true")
	}
	ctx, cancel := h.stream(r.Context())
	defer cancel()
	records := w.records(ctx, "application/json")
	err := h.engine.ContainerStats(ctx, r.name, stream, func(s container.StatsResponse) error {
		return records.send(s)
	})
	return records.finish(err)
}

// done answers a call that has nothing to tell.
func done(w *response, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}
