package cgroup

import (
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestAskedRates(t *testing.T) {
	device := func(minor int64, rate uint64) specs.LinuxThrottleDevice {
		d := specs.LinuxThrottleDevice{Rate: rate}
		d.Major, d.Minor = 8, minor
		return d
	}
	b := &specs.LinuxBlockIO{
		ThrottleReadBpsDevice:   []specs.LinuxThrottleDevice{device(0, 1<<64-1), device(16, 2)},
		ThrottleWriteBpsDevice:  []specs.LinuxThrottleDevice{device(0, 3)},
		ThrottleReadIOPSDevice:  []specs.LinuxThrottleDevice{device(0, 4)},
		ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{device(0, 5)},
	}
	v1 := []rateWrite{{"rb", "8:0 " + noRate}, {"rb", "8:16 2"}, {"wb", "8:0 3"}, {"ri", "8:0 4"}, {"wi", "8:0 5"}}
	if got := asked(b, []string{"rb", "wb", "ri", "wi"}); !slices.Equal(got, v1) {
		t.Errorf("version 1: %q", got)
	}
	v2 := []rateWrite{{"m", "8:0 rbps=" + noRate}, {"m", "8:16 rbps=2"}, {"m", "8:0 wbps=3"}, {"m", "8:0 riops=4"}, {"m", "8:0 wiops=5"}}
	if got := asked(b, []string{"m"}); !slices.Equal(got, v2) {
		t.Errorf("version 2: %q", got)
	}
	if got := append(asked(nil, []string{"m"}), asked(b, nil)...); got != nil {
		t.Errorf("without rates, or files: %q", got)
	}
}

// TestRestoredRates undoes what an OCI runtime wrote: a rate that was changed, one that was taken away, and one that
// came.
func TestRestoredRates(t *testing.T) {
	for name, c := range map[string]struct {
		file, before, now string
		want              []string
	}{
		"1": {"/g/blkio.throttle.read_bps_device", "8:0 1\n8:16 2\n8:32 3\n", "8:0 1\n8:16 9\n8:48 4\n",
			[]string{"8:16 2", "8:32 3", "8:48 " + noRate}},
		"2": {"/g/io.max", "8:0 rbps=1 wbps=max riops=max wiops=2\n", "8:16 rbps=max wbps=5 riops=max wiops=max\n",
			[]string{"8:0 rbps=1 wbps=max riops=max wiops=2", "8:16 rbps=max wbps=max riops=max wiops=max"}},
		"nothing": {"/g/io.max", "8:0 rbps=1\n", "8:0 rbps=1\n", nil},
	} {
		var got []string
		for _, w := range restored(Rates{c.file: parseRates(c.before)}, Rates{c.file: parseRates(c.now)}) {
			if w.file != c.file {
				t.Errorf("%s: a write to %s", name, w.file)
			}
			got = append(got, w.text)
		}
		if slices.Sort(got); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
