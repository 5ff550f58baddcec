package api

import (
	"net/http"

	"github.com/moby/moby/api/types/volume"
)

// volumeHandlers answer the requests about volumes: there are none yet.
type volumeHandlers struct{}

func (h volumeHandlers) routes() []route {
	return []route{
		{get, "/volumes", h.list},
		{get, "/volumes/{name}", h.missing},
		{del, "/volumes/{name}", h.missing},
	}
}

// list answers with an empty list: clients ask for volumes on the way to other
// things.
func (h volumeHandlers) list(w *response, r *request) error {
	if _, err := r.filters(); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, volume.ListResponse{Volumes: []volume.Volume{}, Warnings: []string{}})
}

func (h volumeHandlers) missing(_ *response, r *request) error {
	return notFound("get %s: no such volume", r.name)
}
