package api

import (
	"context"
	"net/http"
	"slices"

	"github.com/moby/moby/api/types/network"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
)

// Networks are the calls about networks.
type Networks interface {
	NetworkList(ctx context.Context, f filters.Filters) ([]network.Summary, error)
	NetworkInspect(ctx context.Context, ref string) (network.Inspect, error)
}

// networkHandlers answer the requests about networks.
type networkHandlers struct {
	engine Networks
}

func (h networkHandlers) routes() []route {
	return []route{
		{get, "/networks", h.list},
		{get, "/networks/{id}", h.inspect},
	}
}

func (h networkHandlers) list(w *response, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	networks, err := h.engine.NetworkList(r.Context(), filters)
	if err != nil {
		return err
	}
	networks = slices.Clone(networks)
	for i := range networks {
		completeNetwork(&networks[i].Network)
	}
	return writeJSON(w, http.StatusOK, list(networks))
}

func (h networkHandlers) inspect(w *response, r *request) error {
	n, err := h.engine.NetworkInspect(r.Context(), r.name)
	if err != nil {
		return err
	}
	completeNetwork(&n.Network)
	n.Containers = dict(n.Containers)
	if r.version.before(52) {
		n.Status = nil
	}
	return writeJSON(w, http.StatusOK, n)
}

// completeNetwork puts empty lists and maps in place of missing ones.
func completeNetwork(n *network.Network) {
	n.Labels, n.Options = dict(n.Labels), dict(n.Options)
	n.IPAM.Config = list(n.IPAM.Config)
}
