package request

import (
	"slices"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// BlockIO are limits of block I/O.
type BlockIO struct {
	Weight, WeightDevice, ReadBps, WriteBps, ReadIOps, WriteIOps bool
}

// Discard takes limits out of a request that the kernel does not have, and returns a warning for each, in Docker's
// words.
func Discard(r *container.Resources, host Host) (warnings []string) {
	discard := func(has bool, asked int, warning string, limit func()) {
		if !has && asked > 0 {
			warnings = append(warnings, warning)
			limit()
		}
	}
	if s := r.MemorySwappiness; s != nil && *s != -1 {
		discard(!host.ControlGroups2, 1,
			"Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
			func() { r.MemorySwappiness = nil })
	}
	if r.OomKillDisable != nil && *r.OomKillDisable {
		discard(!host.ControlGroups2, 1, "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
			func() { r.OomKillDisable = nil })
	}
	discard(host.BlockIO.Weight, int(r.BlkioWeight),
		"Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
		func() { r.BlkioWeight = 0 })
	discard(host.BlockIO.WeightDevice, len(r.BlkioWeightDevice),
		"Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
		func() { r.BlkioWeightDevice = r.BlkioWeightDevice[:0] })
	discard(host.BlockIO.ReadBps, len(r.BlkioDeviceReadBps),
		"Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.",
		func() { r.BlkioDeviceReadBps = r.BlkioDeviceReadBps[:0] })
	discard(host.BlockIO.WriteBps, len(r.BlkioDeviceWriteBps),
		"Your kernel does not support BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write limit discarded.",
		func() { r.BlkioDeviceWriteBps = r.BlkioDeviceWriteBps[:0] })
	discard(host.BlockIO.ReadIOps, len(r.BlkioDeviceReadIOps),
		"Your kernel does not support IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read limit discarded.",
		func() { r.BlkioDeviceReadIOps = r.BlkioDeviceReadIOps[:0] })
	discard(host.BlockIO.WriteIOps, len(r.BlkioDeviceWriteIOps),
		"Your kernel does not support IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write limit discarded.",
		func() { r.BlkioDeviceWriteIOps = r.BlkioDeviceWriteIOps[:0] })
	return warnings
}

// checkBlockIO refuses lists of devices with an empty entry.
func checkBlockIO(r *container.Resources) error {
	if slices.Contains(r.BlkioWeightDevice, nil) || slices.Contains(slices.Concat(
		r.BlkioDeviceReadBps, r.BlkioDeviceWriteBps, r.BlkioDeviceReadIOps, r.BlkioDeviceWriteIOps), nil) {
		return classed.Errorf(errdefs.ErrInvalidArgument, "a list of limits of block I/O has an empty entry")
	}
	return nil
}

// updateBlockIO replaces the lists of devices that a request has. An empty list is one, too.
func updateBlockIO(h *record.Resources, req record.Resources) {
	set(&h.BlkioWeight, req.BlkioWeight)
	if req.BlkioWeightDevice != nil {
		h.BlkioWeightDevice = req.BlkioWeightDevice
	}
	for _, list := range []struct {
		to  *[]record.ThrottleDevice
		req []record.ThrottleDevice
	}{
		{&h.BlkioDeviceReadBps, req.BlkioDeviceReadBps}, {&h.BlkioDeviceWriteBps, req.BlkioDeviceWriteBps},
		{&h.BlkioDeviceReadIOps, req.BlkioDeviceReadIOps}, {&h.BlkioDeviceWriteIOps, req.BlkioDeviceWriteIOps},
	} {
		if list.req != nil {
			*list.to = list.req
		}
	}
}
