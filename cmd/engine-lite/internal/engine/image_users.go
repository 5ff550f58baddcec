package engine

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
)

// imageUsers say which containers use an image. They implement images.Containers.
type imageUsers struct{ *containers.Registry }

// ImageUses implements images.Containers.
func (u imageUsers) ImageUses(id digest.Digest) []images.Use {
	var uses []images.Use
	for _, o := range u.All() { // those that are being created too
		if r := o.Record(); r.Image == id.String() || mountsImage(r, id.String()) {
			uses = append(uses, images.Use{ContainerID: r.ID, Running: r.Running()})
		}
	}
	return uses
}

func mountsImage(r *record.Record, id string) bool {
	return slices.ContainsFunc(r.Mounts, func(m record.Mount) bool { return m.Type == record.MountImage && m.Source == id })
}

// CountByImage implements images.Containers.
func (u imageUsers) CountByImage() map[string]int64 {
	n := map[string]int64{}
	for _, r := range u.Sorted() {
		n[r.Image]++
	}
	return n
}

// ImageNames implements images.Containers.
func (u imageUsers) ImageNames() []string {
	var names []string
	for _, o := range u.All() { // those that are being created too
		names = append(names, o.Record().ImageName)
	}
	return names
}
