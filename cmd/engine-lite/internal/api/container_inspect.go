package api

import (
	"net/http"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

func (h containerHandlers) list(w *response, r *request) error {
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

func (h containerHandlers) inspect(w *response, r *request) error {
	c, err := h.engine.ContainerInspect(r.Context(), r.name, r.flag("size"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, inspected(c, r.version))
}

// summaries is a list of containers, in the shape of a version.
func summaries(cs []container.Summary, v version) []container.Summary {
	cs = slices.Clone(cs)
	for i := range cs {
		c := &cs[i]
		c.Names, c.Ports, c.Mounts = list(c.Names), list(c.Ports), list(c.Mounts)
		c.Labels = dict(c.Labels)
		if v.before(46) {
			c.HostConfig.Annotations = nil
		}
		if v.before(48) {
			c.ImageManifestDescriptor = nil
		}
		if v.before(52) {
			c.Health = nil
		}
	}
	return list(cs)
}

// oldContainer is a container before API 1.52.
type oldContainer struct {
	container.InspectResponse
	GraphDriver     storage.DriverData
	Config          *oldConfig
	NetworkSettings *oldNetworkSettings
}

// oldConfig has OnBuild also where there is none.
type oldConfig struct {
	*container.Config
	OnBuild []string
}

// oldNetworkSettings repeats the endpoint on the network "bridge".
type oldNetworkSettings struct {
	*container.NetworkSettings
	Bridge                 string
	HairpinMode            bool
	LinkLocalIPv6Address   string
	LinkLocalIPv6PrefixLen int
	SecondaryIPAddresses   []struct{}
	SecondaryIPv6Addresses []struct{}
	EndpointID             string
	Gateway                string
	GlobalIPv6Address      string
	GlobalIPv6PrefixLen    int
	IPAddress              string
	IPPrefixLen            int
	IPv6Gateway            string
	MacAddress             string
}

// inspected is a container, in the shape of a version.
func inspected(c container.InspectResponse, v version) any {
	c.Args, c.Mounts = list(c.Args), list(c.Mounts)
	if c.NetworkSettings != nil {
		settings := *c.NetworkSettings
		settings.Ports = dict(settings.Ports)
		c.NetworkSettings = &settings
	}
	if v.before(48) {
		c.ImageManifestDescriptor = nil
	}
	if v.before(56) && c.HostConfig != nil {
		h := *c.HostConfig
		h.Umask = nil
		c.HostConfig = &h
	}
	if !v.before(52) {
		return c
	}
	c.Storage = nil
	old := oldContainer{InspectResponse: c, GraphDriver: storage.DriverData{Name: c.Driver}}
	if c.GraphDriver != nil {
		old.GraphDriver = *c.GraphDriver
	}
	if c.Config != nil {
		old.Config = &oldConfig{Config: c.Config, OnBuild: c.Config.OnBuild}
	}
	if c.NetworkSettings != nil {
		old.NetworkSettings = oldNetwork(c.NetworkSettings)
	}
	return old
}

func oldNetwork(s *container.NetworkSettings) *oldNetworkSettings {
	old := &oldNetworkSettings{NetworkSettings: s}
	e := s.Networks[network.NetworkBridge]
	if e == nil {
		return old
	}
	text := func(a interface {
		IsValid() bool
		String() string
	}) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	old.EndpointID, old.MacAddress = e.EndpointID, e.MacAddress.String()
	old.Gateway, old.IPAddress, old.IPPrefixLen = text(e.Gateway), text(e.IPAddress), e.IPPrefixLen
	old.IPv6Gateway, old.GlobalIPv6Address = text(e.IPv6Gateway), text(e.GlobalIPv6Address)
	old.GlobalIPv6PrefixLen = e.GlobalIPv6PrefixLen
	return old
}
