package inspect

import (
	"maps"
	"os"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// mountRequest turns the engine's own form of a mount that was asked for into the API's.
func mountRequest(req record.MountRequest) mount.Mount {
	m := mount.Mount{
		Type: mount.Type(req.Type), Source: req.Source, Target: req.Target, ReadOnly: req.ReadOnly,
		Consistency: mount.Consistency(req.Consistency), VolumeOptions: volumeOptions(req.Volume),
	}
	if o := req.Bind; o != nil {
		m.BindOptions = &mount.BindOptions{
			Propagation: mount.Propagation(o.Propagation), NonRecursive: o.NonRecursive, CreateMountpoint: o.CreateMountpoint,
			ReadOnlyNonRecursive: o.ReadOnlyNonRecursive, ReadOnlyForceRecursive: o.ReadOnlyForceRecursive,
		}
	}
	if o := req.Image; o != nil {
		m.ImageOptions = &mount.ImageOptions{Subpath: o.Subpath}
	}
	if o := req.Tmpfs; o != nil {
		m.TmpfsOptions = &mount.TmpfsOptions{
			SizeBytes: o.SizeBytes, Mode: os.FileMode(o.Mode), Options: each(o.Options, slices.Clone[[]string]),
		}
	}
	if req.Cluster {
		m.ClusterOptions = &mount.ClusterOptions{}
	}
	return m
}

func volumeOptions(o *record.VolumeOptions) *mount.VolumeOptions {
	if o == nil {
		return nil
	}
	v := &mount.VolumeOptions{NoCopy: o.NoCopy, Labels: maps.Clone(o.Labels), Subpath: o.Subpath}
	if o.DriverConfig {
		v.DriverConfig = &mount.Driver{Name: o.Driver, Options: maps.Clone(o.DriverOptions)}
	}
	return v
}

// mountPoints are a container's mounts. source returns the path of the host where a volume or an image is; nil if
// nobody knows one.
func mountPoints(r *record.Record, source func(m record.Mount) string) []container.MountPoint {
	list := make([]container.MountPoint, len(r.Mounts))
	for i, m := range r.Mounts {
		list[i] = container.MountPoint{
			Type: mount.Type(m.Type), Name: m.Name, Source: m.Source, Destination: m.Destination, Driver: m.Driver,
			Mode: m.Mode, RW: !m.ReadOnly, Propagation: mount.Propagation(m.Propagation),
		}
		if m.Type != record.MountBind && m.Type != record.MountTmpfs && source != nil {
			list[i].Source = source(m)
		}
	}
	return list
}
