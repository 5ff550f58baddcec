package request

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// checkDrivers refuses drivers of devices, storage and volumes that the engine does not have, in Docker's words.
func checkDrivers(h *container.HostConfig) error {
	if len(h.DeviceRequests) > 0 {
		r := h.DeviceRequests[0]
		problem := fmt.Sprintf("could not select device driver %q with capabilities: %v", r.Driver, r.Capabilities)
		if r.Driver == "cdi" {
			problem = "unresolvable CDI devices " + strings.Join(r.DeviceIDs, ", ")
		}
		return classed.Errorf(errdefs.ErrNotImplemented, "engine-lite does not have HostConfig.DeviceRequests: %s", problem)
	}
	if len(h.StorageOpt) > 0 {
		return classed.Errorf(errdefs.ErrNotImplemented,
			"--storage-opt is not supported: the root filesystems of engine-lite take no HostConfig.StorageOpt")
	}
	if d := h.VolumeDriver; d != "" && d != "local" {
		return classed.Errorf(errdefs.ErrInvalidArgument, "error looking up volume plugin %s: plugin %q not found", d, d)
	}
	return nil
}
