package spec

import (
	"errors"
	"math"
	"os"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// TestBlockIO looks up devices that every Linux has. Which kinds of device can be limited, the kernel knows.
func TestBlockIO(t *testing.T) {
	b, err := BlockIO(record.Resources{
		BlkioWeight: 500, BlkioWeightDevice: []record.WeightDevice{{Path: "/dev/null", Weight: 20}},
		BlkioDeviceReadBps:  []record.ThrottleDevice{{Path: "/dev/null", Rate: 1}, {Path: "/dev/zero"}},
		BlkioDeviceWriteBps: []record.ThrottleDevice{{Path: "/dev/zero", Rate: 2}},
		BlkioDeviceReadIOps: []record.ThrottleDevice{{Path: "/dev/zero", Rate: 3}}, BlkioDeviceWriteIOps: []record.ThrottleDevice{{Path: "/dev/zero", Rate: 4}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := b.WeightDevice; *b.Weight != 500 || len(d) != 1 || d[0].Major != 1 || d[0].Minor != 3 || *d[0].Weight != 20 {
		t.Errorf("weights: %+v", b)
	}
	if d := b.ThrottleReadBpsDevice; len(d) != 2 || d[0].Minor != 3 || d[0].Rate != 1 || d[1].Minor != 5 || d[1].Rate != math.MaxUint64 {
		t.Errorf("reads: %+v", d)
	}
	for i, d := range [][]specs.LinuxThrottleDevice{b.ThrottleWriteBpsDevice, b.ThrottleReadIOPSDevice, b.ThrottleWriteIOPSDevice} {
		if len(d) != 1 || d[0].Major != 1 || d[0].Minor != 5 || d[0].Rate != uint64(i+2) {
			t.Errorf("%d: %+v", i, d)
		}
	}
	if b, err := BlockIO(record.Resources{}); b != nil || err != nil {
		t.Errorf("without limits: %+v, %v", b, err)
	}
	for _, r := range []record.Resources{
		{BlkioWeightDevice: []record.WeightDevice{{Path: "/dev/no-such", Weight: 20}}},
		{BlkioDeviceWriteIOps: []record.ThrottleDevice{{Path: "/dev/no-such", Rate: 1}}},
	} {
		if _, err := BlockIO(r); !errors.Is(err, os.ErrNotExist) || err.Error() != "stat /dev/no-such: no such file or directory" {
			t.Errorf("a device that is not there: %v", err)
		}
	}
	from := record.Resources{
		BlkioDeviceReadBps:  []record.ThrottleDevice{{Path: "/dev/null", Rate: 1}, {Path: "/dev/zero", Rate: 2}, {Path: "/dev/no-such", Rate: 3}},
		BlkioDeviceReadIOps: []record.ThrottleDevice{{Path: "/dev/zero", Rate: 4}},
	}
	to := record.Resources{BlkioDeviceReadBps: []record.ThrottleDevice{{Path: "/dev/null", Rate: 5}}}
	b, err = ChangedBlockIO(from, to)
	if err != nil || len(b.ThrottleReadBpsDevice) != 2 || b.ThrottleReadBpsDevice[0].Rate != 5 || b.ThrottleReadBpsDevice[1].Rate != math.MaxUint64 ||
		len(b.ThrottleReadIOPSDevice) != 1 || b.ThrottleReadIOPSDevice[0].Rate != math.MaxUint64 || len(to.BlkioDeviceReadBps) != 1 {
		t.Errorf("a change: %+v, %v", b, err)
	}
	for weight, ok := range map[uint16]bool{0: true, 9: false, 10: true, 1000: true, 1001: false} {
		if _, err := Limits(record.Resources{BlkioWeight: weight}); errdefs.IsInvalidArgument(err) == ok {
			t.Errorf("weight %d: %v", weight, err)
		}
	}
}
