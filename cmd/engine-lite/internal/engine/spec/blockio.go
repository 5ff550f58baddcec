package spec

import (
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// checkBlockIO refuses a weight that no kernel takes, in Docker's words.
func checkBlockIO(r record.Resources) error {
	if r.BlkioWeight > 0 && (r.BlkioWeight < 10 || r.BlkioWeight > 1000) {
		return classed.Errorf(errdefs.ErrInvalidArgument, "Range of blkio weight is from 10 to 1000")
	}
	return nil
}

// BlockIO are the limits of block I/O in the form of the OCI runtime specification; nil without any. BlockIO asks the
// host for the devices: only a run needs them, so a device may be missing before. Errors: NotFound for a device that is
// not there.
func BlockIO(r record.Resources) (*specs.LinuxBlockIO, error) {
	b := &specs.LinuxBlockIO{}
	if r.BlkioWeight > 0 {
		b.Weight = &r.BlkioWeight
	}
	for _, d := range r.BlkioWeightDevice {
		major, minor, err := blockDevice(d.Path)
		if err != nil {
			return nil, err
		}
		w := specs.LinuxWeightDevice{Weight: &d.Weight}
		w.Major, w.Minor = major, minor
		b.WeightDevice = append(b.WeightDevice, w)
	}
	for _, limit := range []struct {
		devices []record.ThrottleDevice
		to      *[]specs.LinuxThrottleDevice
	}{
		{r.BlkioDeviceReadBps, &b.ThrottleReadBpsDevice}, {r.BlkioDeviceWriteBps, &b.ThrottleWriteBpsDevice},
		{r.BlkioDeviceReadIOps, &b.ThrottleReadIOPSDevice}, {r.BlkioDeviceWriteIOps, &b.ThrottleWriteIOPSDevice},
	} {
		var err error
		if *limit.to, err = throttles(limit.devices); err != nil {
			return nil, err
		}
	}
	if reflect.ValueOf(*b).IsZero() {
		return nil, nil
	}
	return b, nil
}

// ChangedBlockIO are the limits of block I/O that lead a running container from one set of limits to another: devices
// that lose their rate are in it with no limit. Errors are those of [BlockIO].
func ChangedBlockIO(from, to record.Resources) (*specs.LinuxBlockIO, error) {
	to.BlkioDeviceReadBps = withLost(from.BlkioDeviceReadBps, to.BlkioDeviceReadBps)
	to.BlkioDeviceWriteBps = withLost(from.BlkioDeviceWriteBps, to.BlkioDeviceWriteBps)
	to.BlkioDeviceReadIOps = withLost(from.BlkioDeviceReadIOps, to.BlkioDeviceReadIOps)
	to.BlkioDeviceWriteIOps = withLost(from.BlkioDeviceWriteIOps, to.BlkioDeviceWriteIOps)
	return BlockIO(to)
}

func withLost(from, to []record.ThrottleDevice) []record.ThrottleDevice {
	list := slices.Clone(to)
	for _, d := range from {
		named := slices.ContainsFunc(to, func(t record.ThrottleDevice) bool { return t.Path == d.Path })
		if _, _, err := blockDevice(d.Path); err == nil && !named { // a device that is gone has no limit
			list = append(list, record.ThrottleDevice{Path: d.Path})
		}
	}
	return list
}

// throttles returns the rates of devices. Zero means no limit to the user; to the kernel that is the greatest number in
// version 1 and 2 (block/blk-throttle.c), and zero in version 1 only.
func throttles(devices []record.ThrottleDevice) ([]specs.LinuxThrottleDevice, error) {
	var list []specs.LinuxThrottleDevice
	for _, d := range devices {
		major, minor, err := blockDevice(d.Path)
		if err != nil {
			return nil, err
		}
		t := specs.LinuxThrottleDevice{Rate: d.Rate}
		t.Major, t.Minor = major, minor
		if t.Rate == 0 {
			t.Rate = math.MaxUint64
		}
		list = append(list, t)
	}
	return list, nil
}

// blockDevice returns the numbers of a device. The kernel refuses those of what is no disk.
func blockDevice(path string) (major, minor int64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, fmt.Errorf("stat %s: %w", path, err)
	}
	return int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev)), nil
}
