package api

func (h containerHandlers) rename(w *response, r *request) error {
	name := r.query.Get("name")
	if name == "" {
		return invalid("parameter name is needed: the container's new name")
	}
	return done(w, h.engine.ContainerRename(r.Context(), r.name, name))
}
