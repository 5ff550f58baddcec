package system

import (
	"slices"
	"testing"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/host"
)

func TestMissingBlockIO(t *testing.T) {
	all := host.BlockIO{Weight: true, WeightDevice: true, ReadBps: true, WriteBps: true, ReadIOps: true, WriteIOps: true}
	if got := missingBlockIO(all, "2"); got != nil {
		t.Errorf("nothing is missing, and the warnings are %q", got)
	}
	if got := missingBlockIO(host.BlockIO{}, "2"); len(got) != 6 || got[2] != "WARNING: No io.max (rbps) support" {
		t.Errorf("version 2: %q", got)
	}
	want := []string{"WARNING: No blkio throttle.read_bps_device support", "WARNING: No blkio throttle.write_iops_device support"}
	if got := missingBlockIO(host.BlockIO{WriteBps: true, ReadIOps: true}, "1"); !slices.Equal(got, want) {
		t.Errorf("version 1: %q", got)
	}
}
