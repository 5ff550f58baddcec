package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Rates are the limits of the rates of devices: by file and device, what follows the device in the file. Version 1 has
// a file for each kind of rate (Documentation/admin-guide/cgroup-v1/blkio-controller.rst), version 2 has io.max
// (Documentation/admin-guide/cgroup-v2.rst).
type Rates map[string]map[string]string

// rateKinds are the files of version 1, and the keys in io.max.
var rateKinds = []struct {
	file, key string
	devices   func(*specs.LinuxBlockIO) []specs.LinuxThrottleDevice
}{
	{"read_bps_device", "rbps", func(b *specs.LinuxBlockIO) []specs.LinuxThrottleDevice { return b.ThrottleReadBpsDevice }},
	{"write_bps_device", "wbps", func(b *specs.LinuxBlockIO) []specs.LinuxThrottleDevice { return b.ThrottleWriteBpsDevice }},
	{"read_iops_device", "riops", func(b *specs.LinuxBlockIO) []specs.LinuxThrottleDevice { return b.ThrottleReadIOPSDevice }},
	{"write_iops_device", "wiops", func(b *specs.LinuxBlockIO) []specs.LinuxThrottleDevice { return b.ThrottleWriteIOPSDevice }},
}

// noRate is no limit in both versions (block/blk-throttle.c).
const noRate = "18446744073709551615"

// Rates reads the group's rates. A kernel without these files has none.
func (g *Groups) Rates() (Rates, error) {
	all := Rates{}
	for _, file := range g.rateFiles() {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("cannot read the limits of block I/O: %w", err)
		}
		all[file] = parseRates(string(text))
	}
	return all, nil
}

// rateFiles lists the files in the order of rateKinds. Without the controller there are none.
func (g *Groups) rateFiles() []string {
	if g.V2 != "" {
		return []string{filepath.Join(cgroupMount, g.V2, "io.max")}
	}
	var list []string
	for _, k := range rateKinds {
		if file := g.fileV1("blkio", "blkio.throttle."+k.file); file != "" {
			list = append(list, file)
		}
	}
	return list
}

func parseRates(text string) map[string]string {
	devices := map[string]string{}
	for line := range strings.Lines(text) {
		if device, rate, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			devices[device] = rate
		}
	}
	return devices
}

// SetRates brings the rates back to those that were read before, and changes the ones that b names; b may be nil.
// InvalidArgument where the kernel refuses a rate: it has no such disk.
func (g *Groups) SetRates(before Rates, b *specs.LinuxBlockIO) error {
	now, err := g.Rates()
	if err != nil {
		return err
	}
	for _, w := range append(restored(before, now), asked(b, g.rateFiles())...) {
		if err := os.WriteFile(w.file, []byte(w.text), 0); err != nil {
			return fmt.Errorf("cannot limit block I/O to %q: %w: %w", w.text, err, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// rateWrite is what is written into a file to limit a device.
type rateWrite struct{ file, text string }

// restored returns the writes that lead from the rates now to those before.
func restored(before, now Rates) []rateWrite {
	var list []rateWrite
	for _, file := range slices.Sorted(maps.Keys(now)) {
		for device := range now[file] {
			if _, had := before[file][device]; had {
				continue
			}
			none := noRate
			if filepath.Base(file) == "io.max" {
				none = "rbps=max wbps=max riops=max wiops=max"
			}
			list = append(list, rateWrite{file, device + " " + none})
		}
		for device, rate := range before[file] {
			if now[file][device] != rate {
				list = append(list, rateWrite{file, device + " " + rate})
			}
		}
	}
	return list
}

// asked returns the writes for the rates of a spec. files are those of rateKinds, or io.max alone.
func asked(b *specs.LinuxBlockIO, files []string) []rateWrite {
	if b == nil || len(files) == 0 {
		return nil
	}
	var list []rateWrite
	for i, k := range rateKinds {
		for _, d := range k.devices(b) {
			if len(files) == 1 {
				list = append(list, rateWrite{files[0], fmt.Sprintf("%d:%d %s=%d", d.Major, d.Minor, k.key, d.Rate)})
				continue
			}
			list = append(list, rateWrite{files[i], fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Rate)})
		}
	}
	return list
}
