package request

import (
	"reflect"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// updatesHere are the limits that can be changed while a container exists.
var updatesHere = []string{
	"CPUShares", "Memory", "NanoCPUs", "CPUPeriod", "CPUQuota", "CpusetCpus", "CpusetMems", "MemoryReservation", "MemorySwap",
	"PidsLimit", "BlkioWeight", "BlkioWeightDevice", "BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps",
	"BlkioDeviceWriteIOps", "CPURealtimePeriod", "CPURealtimeRuntime",
}

// Update returns a container's host configuration with the changes of a request. What the request leaves at zero stays.
// Errors: NotImplemented for a limit that the engine does not have, and InvalidArgument or Conflict for what makes no
// sense together with what the container has.
func Update(now *record.HostConfig, req container.UpdateConfig) (*record.HostConfig, error) {
	if err := onlyFields(req.Resources, "HostConfig", updatesHere); err != nil {
		return nil, err
	}
	if err := checkBlockIO(&req.Resources); err != nil {
		return nil, err
	}
	h := *now
	if policy := req.RestartPolicy; policy.Name != "" {
		if err := container.ValidateRestartPolicy(policy); err != nil {
			return nil, classed.Errorf(errdefs.ErrInvalidArgument, "%v", err)
		}
		if now.AutoRemove && !policy.IsNone() {
			return nil, classed.Errorf(errdefs.ErrConflict, "Restart policy cannot be updated because AutoRemove is enabled for the container")
		}
		h.RestartPolicy.Name, h.RestartPolicy.MaximumRetryCount = record.RestartPolicyMode(policy.Name), policy.MaximumRetryCount
	}
	if err := updateCPU(&h.Resources, &req.Resources); err != nil {
		return nil, err
	}
	if err := updateMemory(&h.Resources, &req.Resources); err != nil {
		return nil, err
	}
	updateBlockIO(&h.Resources, resources(&req.Resources))
	if req.PidsLimit != nil {
		h.PidsLimit = req.PidsLimit
		if *req.PidsLimit <= 0 { // Docker's two words for no limit
			none := int64(0)
			h.PidsLimit = &none
		}
	}
	return &h, nil
}

func updateCPU(h *record.Resources, req *container.Resources) error {
	switch {
	case req.NanoCPUs != 0 && (req.CPUPeriod != 0 || req.CPUQuota != 0):
		return classed.Errorf(errdefs.ErrInvalidArgument, "Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set")
	case req.NanoCPUs != 0 && h.CPUPeriod != 0:
		return classed.Errorf(errdefs.ErrInvalidArgument, "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set")
	case req.NanoCPUs != 0 && h.CPUQuota > 0:
		return classed.Errorf(errdefs.ErrInvalidArgument, "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set")
	case req.CPUPeriod != 0 && h.NanoCPUs != 0:
		return classed.Errorf(errdefs.ErrInvalidArgument, "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set")
	case req.CPUQuota != 0 && h.NanoCPUs != 0:
		return classed.Errorf(errdefs.ErrInvalidArgument, "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set")
	}
	if req.NanoCPUs != 0 {
		h.CPUQuota = 0 // -1 is no limit
	}
	set(&h.CPUShares, req.CPUShares)
	set(&h.NanoCPUs, req.NanoCPUs)
	set(&h.CPUPeriod, req.CPUPeriod)
	set(&h.CPUQuota, req.CPUQuota)
	set(&h.CPURealtimePeriod, req.CPURealtimePeriod)
	set(&h.CPURealtimeRuntime, req.CPURealtimeRuntime)
	set(&h.CpusetCpus, req.CpusetCpus)
	set(&h.CpusetMems, req.CpusetMems)
	return nil
}

func updateMemory(h *record.Resources, req *container.Resources) error {
	if req.Memory > 0 && req.MemorySwap == 0 && h.MemorySwap > 0 && req.Memory > h.MemorySwap {
		return classed.Errorf(errdefs.ErrConflict, "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	}
	set(&h.Memory, req.Memory)
	set(&h.MemorySwap, req.MemorySwap)
	set(&h.MemoryReservation, req.MemoryReservation)
	return nil
}

// set changes a value, unless the new one is zero.
func set[V comparable](value *V, to V) {
	if to != *new(V) {
		*value = to
	}
}

// SameLimits tells whether two configurations have the same limits.
func SameLimits(a, b *record.HostConfig) bool {
	return reflect.DeepEqual(a.Resources, b.Resources)
}
