package api

import (
	"net/http"

	"github.com/moby/moby/api/types/container"
)

func (h containerHandlers) update(w *response, r *request) error {
	var body container.UpdateConfig
	if err := r.decode(&body, true); err != nil {
		return err
	}
	if r.version.before(40) {
		body.PidsLimit = nil // it came with API 1.40
	}
	if r.version.before(55) { // before, Docker passed over these
		body.BlkioWeightDevice, body.BlkioDeviceReadBps, body.BlkioDeviceWriteBps = nil, nil, nil
		body.BlkioDeviceReadIOps, body.BlkioDeviceWriteIOps = nil, nil
	}
	warnings, err := h.engine.ContainerUpdate(r.Context(), r.name, body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, container.UpdateResponse{Warnings: warnings})
}
