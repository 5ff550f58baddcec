package api

import "github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"

func (h containerHandlers) attach(w *response, r *request) error {
	o := attachOptions(r)
	s := h.sessions.begin(w, r, o.Stdin, o.Stdout, o.Stderr)
	defer s.close()
	o.Open = s.open
	return s.finish(h.engine.ContainerAttach(s.ctx, r.name, o))
}

func attachOptions(r *request) engine.AttachOptions {
	return engine.AttachOptions{
		Stdin:      r.flag("stdin"),
		Stdout:     r.flag("stdout"),
		Stderr:     r.flag("stderr"),
		Logs:       r.flag("logs"),
		Stream:     r.flag("stream"),
		DetachKeys: r.query.Get("detachKeys"),
	}
}
