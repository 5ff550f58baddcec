package api

import (
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"
	"github.com/moby/moby/api/types/system"
)

// What follows brings answers into the shape of the version that the client
// speaks: fields that came later are left out, fields that went are put back.
// What the engine returned stays as it is.

// summaries is a list of containers.
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
	old.IPv6Gateway, old.GlobalIPv6Address, old.GlobalIPv6PrefixLen = text(e.IPv6Gateway), text(e.GlobalIPv6Address), e.GlobalIPv6PrefixLen
	return old
}

// oldImageSummary is an image in a list before API 1.44.
type oldImageSummary struct {
	image.Summary
	VirtualSize int64
}

func imageSummaries(images []image.Summary, v version) any {
	images = slices.Clone(images)
	old := make([]oldImageSummary, 0, len(images))
	for i := range images {
		img := &images[i]
		img.RepoTags, img.RepoDigests = list(img.RepoTags), list(img.RepoDigests)
		if v.before(43) && len(img.RepoTags)+len(img.RepoDigests) == 0 {
			img.RepoTags, img.RepoDigests = []string{"<none>:<none>"}, []string{"<none>@<none>"}
		}
		if v.before(48) {
			img.Descriptor, img.Manifests = nil, nil
		}
		old = append(old, oldImageSummary{*img, img.Size})
	}
	if v.before(44) {
		return old
	}
	return list(images)
}

// oldImage is an image before API 1.52.
type oldImage struct {
	image.InspectResponse
	Parent        string
	Comment       string
	DockerVersion string
	Author        string
	GraphDriver   storage.DriverData
	Config        *oldImageConfig
	// Container and ContainerConfig went with API 1.45, VirtualSize with 1.44.
	Container       *string           `json:",omitempty"`
	ContainerConfig *container.Config `json:",omitempty"`
	VirtualSize     int64             `json:",omitempty"`
}

// oldImageConfig has all fields of a container's, and the empty ones too.
type oldImageConfig struct {
	container.Config
	OnBuild []string
}

func inspectedImage(img image.InspectResponse, v version) any {
	img.RepoTags, img.RepoDigests = list(img.RepoTags), list(img.RepoDigests)
	if v.before(48) {
		img.Descriptor, img.Manifests = nil, nil
	}
	if v.before(53) {
		img.Identity = nil
	}
	if !v.before(52) {
		return img
	}
	old := oldImage{InspectResponse: img, Comment: img.Comment, Author: img.Author, Config: oldImageConfigOf(img)}
	if img.GraphDriver != nil {
		old.GraphDriver = *img.GraphDriver
	}
	if v.before(45) {
		old.Container, old.ContainerConfig = new(string), &container.Config{}
	}
	if v.before(44) {
		old.VirtualSize = img.Size
	}
	return old
}

func oldImageConfigOf(img image.InspectResponse) *oldImageConfig {
	if img.Config == nil {
		return nil
	}
	from := img.Config
	old := &oldImageConfig{OnBuild: from.OnBuild}
	old.User, old.Env, old.Cmd, old.Entrypoint = from.User, from.Env, from.Cmd, from.Entrypoint
	old.WorkingDir, old.Labels, old.Volumes = from.WorkingDir, from.Labels, from.Volumes
	old.StopSignal, old.Healthcheck, old.Shell = from.StopSignal, from.Healthcheck, from.Shell
	old.ExposedPorts = exposed(from.ExposedPorts)
	return old
}

// exposed reads the ports of an image; one that is no port is left out.
func exposed(ports map[string]struct{}) network.PortSet {
	if len(ports) == 0 {
		return nil
	}
	set := network.PortSet{}
	for s := range ports {
		if p, err := network.ParsePort(s); err == nil {
			set[p] = struct{}{}
		}
	}
	return set
}

// oldInfo is the answer to /info before API 1.49, where docker compares the
// commits with the expected ones.
type oldInfo struct {
	system.Info
	ContainerdCommit, RuncCommit, InitCommit oldCommit
}

type oldCommit struct {
	ID       string
	Expected string
}

func informed(info system.Info, v version) any {
	if v.before(53) {
		info.NRI = nil
	}
	if !v.before(49) {
		return info
	}
	info.FirewallBackend = nil
	commit := func(c system.Commit) oldCommit { return oldCommit{c.ID, c.ID} }
	return oldInfo{info, commit(info.ContainerdCommit), commit(info.RuncCommit), commit(info.InitCommit)}
}

// completeNetwork puts empty objects in place of missing ones.
func completeNetwork(n *network.Network) {
	n.Labels, n.Options = dict(n.Labels), dict(n.Options)
	n.IPAM.Config = list(n.IPAM.Config)
}
