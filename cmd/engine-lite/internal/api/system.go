package api

import (
	"context"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/moby/moby/api/types/system"
)

// System are the calls about the engine itself.
type System interface {
	Version(ctx context.Context) (system.VersionResponse, error)
	Info(ctx context.Context) (system.Info, error)
	// SystemDiskUsage has nil for the types of objects that aren't asked for.
	SystemDiskUsage(ctx context.Context, objects []system.DiskUsageObject) (system.DiskUsage, error)
}

// systemHandlers answer the requests about the engine itself.
type systemHandlers struct {
	engine System
}

func (h systemHandlers) routes() []route {
	return []route{
		{get, "/_ping", h.ping},
		{head, "/_ping", h.ping},
		{get, "/version", h.version},
		{get, "/info", h.info},
		{get, "/system/df", h.diskUsage},
	}
}

// ping answers with the headers by which clients negotiate.
func (h systemHandlers) ping(w *response, r *request) error {
	header := w.Header()
	header.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	header.Set("Pragma", "no-cache")
	// Version 1 is the builder without BuildKit: clients then build with a
	// plain request, which is refused in words, and open no session.
	header.Set("Builder-Version", "1")
	header.Set("Swarm", "inactive")
	header.Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		header.Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	_, err := io.WriteString(w, "OK")
	return err
}

func (h systemHandlers) version(w *response, r *request) error {
	v, err := h.engine.Version(r.Context())
	if err != nil {
		return err
	}
	v.APIVersion, v.MinAPIVersion = MaxVersion, MinVersion
	v.Components = slices.Clone(v.Components)
	for i, c := range v.Components {
		if c.Name != "Engine" {
			continue
		}
		details := dict(maps.Clone(c.Details))
		details["ApiVersion"], details["MinAPIVersion"] = MaxVersion, MinVersion
		v.Components[i].Details = details
	}
	return writeJSON(w, http.StatusOK, v)
}

func (h systemHandlers) info(w *response, r *request) error {
	info, err := h.engine.Info(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, informed(info, r.version))
}

// bridgedInfo is the answer to /info before API 1.50: whether netfilter sees bridged packets, which dockerd no longer looks
// at either.
type bridgedInfo struct {
	system.Info
	BridgeNfIptables  bool
	BridgeNfIP6tables bool `json:"BridgeNfIp6tables"`
}

// oldInfo is the answer to /info before API 1.49, where docker compares the
// commits with the expected ones.
type oldInfo struct {
	bridgedInfo
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
	if !v.before(50) {
		return info
	}
	bridged := bridgedInfo{Info: info}
	if !v.before(49) {
		return bridged
	}
	bridged.FirewallBackend = nil
	commit := func(c system.Commit) oldCommit { return oldCommit{c.ID, c.ID} }
	return oldInfo{bridged, commit(info.ContainerdCommit), commit(info.RuncCommit), commit(info.InitCommit)}
}
