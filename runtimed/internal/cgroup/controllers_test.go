package cgroup

import (
	"errors"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func ptr[T any](v T) *T { return &v }

func TestRequireControllers(t *testing.T) {
	for name, c := range map[string]struct {
		resources *specs.LinuxResources
		lacking   string // the controller that is missing; empty for none
	}{
		"no resources": {nil, ""},
		"no limits": {&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
			Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}}, ""},
		"zero": {&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(0))},
			CPU: &specs.LinuxCPU{Shares: ptr(uint64(0))}, BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(0))}}, ""},
		"unlimited": {&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(-1)),
			Swap: ptr(int64(-1))}, CPU: &specs.LinuxCPU{Quota: ptr(int64(-1))}}, ""},
		"memory":           {&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(1 << 20))}}, "memory"},
		"swap":             {&specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr(int64(1 << 20))}}, "memory"},
		"swappiness":       {&specs.LinuxResources{Memory: &specs.LinuxMemory{Swappiness: ptr(uint64(0))}}, "memory"},
		"no OOM killer":    {&specs.LinuxResources{Memory: &specs.LinuxMemory{DisableOOMKiller: ptr(true)}}, "memory"},
		"shares":           {&specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(512))}}, "cpu"},
		"quota":            {&specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(5000))}}, "cpu"},
		"cpus":             {&specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0"}}, "cpuset"},
		"weight":           {&specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(100))}}, "blkio"},
		"throttled device": {&specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{{}}}}, "blkio"},
		"pids":             {&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(10))}}, "pids"},
		"huge pages":       {&specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB"}}}, "hugetlb"},
		"class":            {&specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: ptr(uint32(1))}}, "net_cls"},
		"priorities":       {&specs.LinuxResources{Network: &specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{{}}}}, "net_prio"},
		"rdma":             {&specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"x": {}}}, "rdma"},
	} {
		t.Run(name, func(t *testing.T) {
			none := func() ([]string, error) { return nil, nil }
			err := RequireControllers(c.resources, none)
			if c.lacking == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), `"`+c.lacking+`"`) {
				t.Errorf("without: %v", err)
			}
			with := func() ([]string, error) { return []string{"x", c.lacking}, nil }
			if err := RequireControllers(c.resources, with); err != nil {
				t.Errorf("with: %v", err)
			}
			unreadable := func() ([]string, error) { return nil, unix.EIO }
			if err := RequireControllers(c.resources, unreadable); !errors.Is(err, unix.EIO) {
				t.Errorf("unreadable: %v", err)
			}
		})
	}
}
