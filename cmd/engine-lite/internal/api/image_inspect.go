package api

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"
)

func (h imageHandlers) list(w *response, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	if !r.version.before(54) && r.flag("identity") && !r.flag("manifests") {
		return invalid("conflicting options: identity requires manifests=1")
	}
	if name := r.query.Get("filter"); name != "" && r.version.before(28) {
		filters["reference"] = append(filters["reference"], name)
	}
	sharedSize := !r.version.before(42) && r.flag("shared-size")
	images, err := h.engine.ImageList(r.Context(), r.flag("all"), sharedSize, filters)
	if err != nil {
		return err
	}
	if r.version.before(51) {
		images = slices.Clone(images)
		for i := range images {
			images[i].Containers = -1
		}
	}
	return writeJSON(w, http.StatusOK, imageSummaries(images, r.version))
}

func (h imageHandlers) inspect(w *response, r *request) error {
	if err := r.without("platform"); err != nil {
		return err
	}
	img, err := h.engine.ImageInspect(r.Context(), r.name)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, inspectedImage(img, r.version))
}

// oldImageSummary is an image in a list before API 1.44.
type oldImageSummary struct {
	image.Summary
	VirtualSize int64
}

// imageSummaries is a list of images, in the shape of a version.
func imageSummaries(images []image.Summary, v version) any {
	shaped := shapedImages(images, v)
	if !v.before(44) {
		return shaped
	}
	old := make([]oldImageSummary, 0, len(shaped))
	for _, img := range shaped {
		old = append(old, oldImageSummary{img, img.Size})
	}
	return old
}

func shapedImages(images []image.Summary, v version) []image.Summary {
	images = slices.Clone(images)
	for i := range images {
		img := &images[i]
		img.RepoTags, img.RepoDigests = list(img.RepoTags), list(img.RepoDigests)
		img.Labels = dict(img.Labels)
		if v.before(43) && len(img.RepoTags)+len(img.RepoDigests) == 0 {
			img.RepoTags, img.RepoDigests = []string{"<none>:<none>"}, []string{"<none>@<none>"}
		}
		if v.before(48) {
			img.Descriptor, img.Manifests = nil, nil
		}
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
	// Container and ContainerConfig went with API 1.45, VirtualSize with 1.44. The first two said how an image was built.
	Container       *string         `json:",omitempty"`
	ContainerConfig json.RawMessage `json:",omitempty"`
	VirtualSize     int64           `json:",omitempty"`
}

// oldImageConfig has all fields of a container's, and the empty ones too.
type oldImageConfig struct {
	container.Config
	OnBuild []string
}

// inspectedImage is an image, in the shape of a version.
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
		old.Container, old.ContainerConfig = new(string), json.RawMessage("null")
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

// exposed reads the ports of an image. It leaves out texts that are no ports.
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
