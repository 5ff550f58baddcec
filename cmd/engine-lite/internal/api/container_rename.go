package api

func (h containerHandlers) rename(w *response, r *request) error {
	return done(w, h.engine.ContainerRename(r.Context(), r.name, r.query.Get("name")))
}
