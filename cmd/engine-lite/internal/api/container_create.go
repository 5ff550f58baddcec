package api

import (
	"net"
	"net/http"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// createRequest is the body of POST /containers/create, with the fields that older
// versions have in other places.
type createRequest struct {
	container.CreateRequest
	// MacAddress belonged to the container before API 1.44, and was still taken
	// before 1.52.
	MacAddress string
}

func (h containerHandlers) create(w *response, r *request) error {
	var body createRequest
	if err := r.decode(&body, false); err != nil {
		return err
	}
	if body.Config == nil {
		return invalid("config cannot be empty in order to create a container")
	}
	if body.HostConfig == nil {
		body.HostConfig = &container.HostConfig{}
	}
	if body.NetworkingConfig == nil {
		body.NetworkingConfig = &network.NetworkingConfig{}
	}
	if r.version.before(40) && body.HostConfig.IpcMode.IsEmpty() {
		body.HostConfig.IpcMode = container.IPCModeShareable // the default until then
	}
	if r.version.before(44) && body.Healthcheck != nil {
		body.Healthcheck.StartInterval = 0 // it came with API 1.44
	}
	if r.version.before(52) {
		if err := body.placeMacAddress(); err != nil {
			return err
		}
	}
	if r.version.before(56) {
		body.HostConfig.Umask = nil // it came with API 1.56
	}
	name, platform := r.query.Get("name"), r.query.Get("platform")
	created, err := h.engine.ContainerCreate(r.Context(), name, body.CreateRequest, platform)
	if err != nil {
		return err
	}
	created.Warnings = list(created.Warnings)
	return writeJSON(w, http.StatusCreated, created)
}

// placeMacAddress moves the container's MAC address to the endpoint of its network
// mode.
func (b *createRequest) placeMacAddress() error {
	if b.MacAddress == "" {
		return nil
	}
	mac, err := net.ParseMAC(b.MacAddress)
	if err != nil {
		return invalid("MacAddress is no MAC address: %q", b.MacAddress)
	}
	mode := string(b.HostConfig.NetworkMode)
	if mode == "" {
		mode = network.NetworkDefault
	}
	endpoints := dict(b.NetworkingConfig.EndpointsConfig)
	if endpoints[mode] == nil {
		endpoints[mode] = &network.EndpointSettings{}
	}
	endpoints[mode].MacAddress = network.HardwareAddr(mac)
	b.NetworkingConfig.EndpointsConfig = endpoints
	return nil
}
