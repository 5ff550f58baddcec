package api

import "github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"

func (h containerHandlers) start(w *response, r *request) error {
	if id := r.query.Get("checkpoint"); id != "" {
		return done(w, h.engine.ContainerRestore(r.Context(), r.name, r.query.Get("checkpoint-dir"), id))
	}
	return done(w, h.engine.ContainerStart(r.Context(), r.name))
}

func (h containerHandlers) stop(w *response, r *request) error {
	o, err := r.stopOptions()
	if err != nil {
		return err
	}
	return done(w, h.engine.ContainerStop(r.Context(), r.name, o))
}

func (h containerHandlers) restart(w *response, r *request) error {
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

func (h containerHandlers) kill(w *response, r *request) error {
	return done(w, h.engine.ContainerKill(r.Context(), r.name, r.query.Get("signal")))
}

func (h containerHandlers) pause(w *response, r *request) error {
	return done(w, h.engine.ContainerPause(r.Context(), r.name))
}

func (h containerHandlers) unpause(w *response, r *request) error {
	return done(w, h.engine.ContainerUnpause(r.Context(), r.name))
}

func (h containerHandlers) remove(w *response, r *request) error {
	if err := r.without("link"); err != nil {
		return err
	}
	o := engine.RemoveOptions{Force: r.flag("force"), Volumes: r.flag("v")}
	return done(w, h.engine.ContainerRemove(r.Context(), r.name, o))
}
