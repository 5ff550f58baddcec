// Package networks is the networks that containers can be in.
package networks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// Networks are the networks of an engine.
type Networks struct {
	records func() []*record.Record
}

// New returns the networks. records returns the containers, newest first.
func New(records func() []*record.Record) *Networks { return &Networks{records: records} }

var networkFilters = []string{"driver", "id", "label", "name", "scope", "type", "dangling"}

// networks are those that every engine has. Those that the user makes come
// later.
func networks() []network.Network {
	list := []network.Network{{Name: "host", Driver: "host"}, {Name: "none", Driver: "null"}}
	for i := range list {
		n := &list[i]
		n.ID, n.Scope, n.EnableIPv4 = ID(n.Name), "local", true
		n.Options, n.Labels = map[string]string{}, map[string]string{}
		n.IPAM = network.IPAM{Driver: "default", Config: []network.IPAMConfig{}}
	}
	return list
}

// ID is made of the name: these networks are the same everywhere.
func ID(name string) string {
	sum := sha256.Sum256([]byte("engine-lite network " + name))
	return hex.EncodeToString(sum[:])
}

// NetworkList lists the networks.
func (s *Networks) NetworkList(_ context.Context, f filters.Filters) ([]network.Summary, error) {
	if err := filters.Check(f, networkFilters); err != nil {
		return nil, err
	}
	list := []network.Summary{}
	for _, n := range networks() {
		if f.Match("name", func(v string) bool { return strings.Contains(n.Name, v) }) &&
			f.Match("id", func(v string) bool { return strings.HasPrefix(n.ID, v) }) &&
			f.Match("driver", func(v string) bool { return v == n.Driver }) &&
			f.Match("scope", func(v string) bool { return v == n.Scope }) &&
			f.Match("type", func(v string) bool { return v == "builtin" }) && len(f["label"]) == 0 {
			list = append(list, network.Summary{Network: n})
		}
	}
	return list, nil
}

// NetworkInspect describes a network and the containers in it.
func (s *Networks) NetworkInspect(_ context.Context, ref string) (network.Inspect, error) {
	for _, n := range networks() {
		if n.Name != ref && !strings.HasPrefix(n.ID, ref) {
			continue
		}
		in := network.Inspect{Network: n, Containers: map[string]network.EndpointResource{}}
		for _, r := range s.records() {
			if r.Running() && r.HostConfig.NetworkMode == record.NetworkMode(n.Name) {
				in.Containers[r.ID] = network.EndpointResource{Name: r.Name}
			}
		}
		return in, nil
	}
	return network.Inspect{}, classed.Errorf(errdefs.ErrNotFound, "network %s not found", ref)
}
