package request

import (
	"maps"
	"slices"

	"github.com/moby/moby/api/types/mount"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// mountRequest turns the API's form of a mount into the engine's own.
func mountRequest(m mount.Mount) record.MountRequest {
	req := record.MountRequest{
		Type: record.MountType(m.Type), Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly,
		Consistency: string(m.Consistency), Volume: volumeOptions(m.VolumeOptions), Cluster: m.ClusterOptions != nil,
	}
	if o := m.BindOptions; o != nil {
		req.Bind = &record.BindOptions{
			Propagation: string(o.Propagation), NonRecursive: o.NonRecursive, CreateMountpoint: o.CreateMountpoint,
			ReadOnlyNonRecursive: o.ReadOnlyNonRecursive, ReadOnlyForceRecursive: o.ReadOnlyForceRecursive,
		}
	}
	if o := m.ImageOptions; o != nil {
		req.Image = &record.ImageOptions{Subpath: o.Subpath}
	}
	if o := m.TmpfsOptions; o != nil {
		req.Tmpfs = &record.TmpfsOptions{
			SizeBytes: o.SizeBytes, Mode: uint32(o.Mode), Options: each(o.Options, slices.Clone[[]string]),
		}
	}
	return req
}

func volumeOptions(o *mount.VolumeOptions) *record.VolumeOptions {
	if o == nil {
		return nil
	}
	v := &record.VolumeOptions{
		NoCopy: o.NoCopy, Labels: maps.Clone(o.Labels), Subpath: o.Subpath, DriverConfig: o.DriverConfig != nil,
	}
	if d := o.DriverConfig; d != nil {
		v.Driver, v.DriverOptions = d.Name, maps.Clone(d.Options)
	}
	return v
}
