package api

import (
	"net/http"
	"slices"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
)

// diskObjects are the types of objects that take space.
var diskObjects = []system.DiskUsageObject{
	system.ContainerObject, system.ImageObject, system.VolumeObject, system.BuildCacheObject,
}

func (h systemHandlers) diskUsage(w *response, r *request) error {
	objects := diskObjects
	if !r.version.before(42) && r.query.Has("type") {
		objects = nil
		for _, t := range r.query["type"] {
			object := system.DiskUsageObject(t)
			if !slices.Contains(diskObjects, object) {
				return invalid("unknown object type: %s", t)
			}
			objects = append(objects, object)
		}
	}
	usage, err := h.engine.SystemDiskUsage(r.Context(), objects)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, diskUsed(usage, r.version, r.flag("verbose")))
}

// oldDiskUsage is the answer to /system/df before API 1.52.
type oldDiskUsage struct {
	LayersSize int64               `json:",omitempty"`
	Images     any                 `json:",omitempty"`
	Containers []container.Summary `json:",omitzero"`
	Volumes    []volume.Volume     `json:",omitzero"`
	BuildCache []build.CacheRecord `json:",omitzero"`
}

// bothDiskUsages has the old and the new form: clients that don't ask for the new one by the parameter verbose get both.
type bothDiskUsages struct {
	oldDiskUsage
	system.DiskUsage
}

// diskUsed is what takes space, in the shape of a version.
func diskUsed(u system.DiskUsage, v version, verbose bool) any {
	var old oldDiskUsage
	if i := u.ImageUsage; i != nil {
		shaped := *i
		shaped.Items = shapedImages(i.Items, v)
		u.ImageUsage, old.LayersSize, old.Images = &shaped, i.TotalSize, imageSummaries(i.Items, v)
	}
	if c := u.ContainerUsage; c != nil {
		shaped := *c
		shaped.Items = summaries(c.Items, v)
		u.ContainerUsage, old.Containers = &shaped, shaped.Items
	}
	if vs := u.VolumeUsage; vs != nil {
		old.Volumes = list(vs.Items)
	}
	if b := u.BuildCacheUsage; b != nil {
		old.BuildCache = list(b.Items)
	}
	switch {
	case v.before(52):
		return old
	case verbose:
		return u
	}
	return bothDiskUsages{old, u}
}
