package system

import "github.com/engine-lite/engine-lite/cmd/engine-lite/internal/host"

// blockIOWarnings name the limits of block I/O that the kernel does not have, in Docker's words. Weights are no loss in
// version 1: newer kernels have none.
func blockIOWarnings() []string {
	return missingBlockIO(host.BlockIOLimits(), host.CgroupVersion())
}

func missingBlockIO(has host.BlockIO, version string) (warnings []string) {
	for _, limit := range []struct {
		has    bool
		v1, v2 string
	}{
		{has.Weight, "", "io.weight"},
		{has.WeightDevice, "", "io.weight (per device)"},
		{has.ReadBps, "blkio throttle.read_bps_device", "io.max (rbps)"},
		{has.WriteBps, "blkio throttle.write_bps_device", "io.max (wbps)"},
		{has.ReadIOps, "blkio throttle.read_iops_device", "io.max (riops)"},
		{has.WriteIOps, "blkio throttle.write_iops_device", "io.max (wiops)"},
	} {
		name := limit.v1
		if version == "2" {
			name = limit.v2
		}
		if !limit.has && name != "" {
			warnings = append(warnings, "WARNING: No "+name+" support")
		}
	}
	return warnings
}
