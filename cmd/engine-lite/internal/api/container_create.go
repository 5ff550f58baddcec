package api

import (
	"net"
	"net/http"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
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
	if err := body.gateMounts(r.version); err != nil {
		return err
	}
	created, err := h.engine.ContainerCreate(r.Context(), r.query.Get("name"), body.CreateRequest, engine.CreateOptions{
		Platform: r.query.Get("platform"), ReadOnlyNonRecursive: r.version.before(44),
	})
	if err != nil {
		return err
	}
	if !r.version.before(48) && body.driverIgnored() {
		created.Warnings = append(created.Warnings, "WARNING: the container-wide volume-driver configuration is ignored "+
			"for volumes specified via 'mount'. Use '--mount type=volume,volume-driver=...' instead")
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

// gateMounts drops or refuses what mounts have in newer versions only, as dockerd does.
func (b *createRequest) gateMounts(v version) error {
	for i := range b.HostConfig.Mounts {
		m := &b.HostConfig.Mounts[i]
		if o := m.BindOptions; o != nil {
			o.NonRecursive = o.NonRecursive && !v.before(40)
			o.CreateMountpoint = o.CreateMountpoint && !v.before(42)
		}
		if err := newerMount(m, v); err != nil {
			return err
		}
	}
	return nil
}

func newerMount(m *mount.Mount, v version) error {
	misplaced := func(name string) error {
		return invalid("%s must not be specified on mount type %q", name, m.Type)
	}
	switch {
	case !v.before(42) && m.VolumeOptions != nil && m.Type != mount.TypeVolume:
		return misplaced("VolumeOptions")
	case !v.before(42) && m.BindOptions != nil && m.Type != mount.TypeBind:
		return misplaced("BindOptions")
	case !v.before(42) && m.TmpfsOptions != nil && m.Type != mount.TypeTmpfs:
		return misplaced("TmpfsOptions")
	case v.before(44) && m.Type == mount.TypeBind && m.BindOptions != nil && m.BindOptions.ReadOnlyForceRecursive:
		return invalid("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
	case v.before(45) && m.VolumeOptions != nil && m.VolumeOptions.Subpath != "":
		return invalid("VolumeOptions.Subpath needs API v1.45 or newer")
	case v.before(48) && m.Type == mount.TypeImage:
		return invalid(`Mount type "Image" needs API v1.48 or newer`)
	}
	return nil
}

// driverIgnored tells that the request has a volume of --mount for which the request's volume driver does not count.
func (b *createRequest) driverIgnored() bool {
	return b.HostConfig.VolumeDriver != "" && slices.ContainsFunc(b.HostConfig.Mounts, func(m mount.Mount) bool {
		o := m.VolumeOptions
		return m.Type == mount.TypeVolume && (o == nil || o.DriverConfig == nil || o.DriverConfig.Name == "")
	})
}
