package runtimed

import (
	"errors"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func ptr[T any](v T) *T { return &v }

// withHard makes a host's own hard limits all the same.
func withHard(h host, hard uint64) host {
	h.hardLimit = func(int) (uint64, error) { return hard, nil }
	return h
}

func TestClampProcess(t *testing.T) {
	limit := func(kind string, soft, hard uint64) specs.POSIXRlimit {
		return specs.POSIXRlimit{Type: kind, Soft: soft, Hard: hard}
	}
	withheld := withHard(host{oomScoreAdj: 100}, 1000)
	for name, c := range map[string]struct {
		host     host
		score    *int
		limits   []specs.POSIXRlimit
		want     []specs.POSIXRlimit
		score2   *int
		warnings int
	}{
		"all allowed":         {withHard(host{sysResource: true}, 1000), ptr(-1000), []specs.POSIXRlimit{limit("RLIMIT_NOFILE", 5000, 5000)}, []specs.POSIXRlimit{limit("RLIMIT_NOFILE", 5000, 5000)}, ptr(-1000), 0},
		"nothing asked":       {withheld, nil, nil, nil, nil, 0},
		"less than there is":  {withheld, ptr(100), []specs.POSIXRlimit{limit("RLIMIT_NOFILE", 10, 1000)}, []specs.POSIXRlimit{limit("RLIMIT_NOFILE", 10, 1000)}, ptr(100), 0},
		"score too low":       {withheld, ptr(99), nil, nil, ptr(100), 1},
		"hard limit too high": {withheld, nil, []specs.POSIXRlimit{limit("RLIMIT_NPROC", 10, 1001)}, []specs.POSIXRlimit{limit("RLIMIT_NPROC", 10, 1000)}, nil, 1},
		"both too high":       {withheld, nil, []specs.POSIXRlimit{limit("RLIMIT_CORE", unix.RLIM_INFINITY, unix.RLIM_INFINITY)}, []specs.POSIXRlimit{limit("RLIMIT_CORE", 1000, 1000)}, nil, 1},
		"unknown kind":        {withheld, nil, []specs.POSIXRlimit{limit("RLIMIT_NOPE", 5, 5000)}, []specs.POSIXRlimit{limit("RLIMIT_NOPE", 5, 5000)}, nil, 0},
		"all too high": {withheld, ptr(-1), []specs.POSIXRlimit{limit("RLIMIT_NOFILE", 1, 2000), limit("RLIMIT_CPU", 1, 2000)},
			[]specs.POSIXRlimit{limit("RLIMIT_NOFILE", 1, 1000), limit("RLIMIT_CPU", 1, 1000)}, ptr(100), 3},
	} {
		t.Run(name, func(t *testing.T) {
			p := &specs.Process{OOMScoreAdj: c.score, Rlimits: c.limits}
			warnings := c.host.clampProcess(p)
			if len(warnings) != c.warnings {
				t.Errorf("warnings: %q", warnings)
			}
			for _, w := range warnings {
				if !strings.Contains(w, "CAP_SYS_RESOURCE") {
					t.Errorf("%q doesn't say what is missing", w)
				}
			}
			if (p.OOMScoreAdj == nil) != (c.score2 == nil) || p.OOMScoreAdj != nil && *p.OOMScoreAdj != *c.score2 {
				t.Errorf("score %v", p.OOMScoreAdj)
			}
			for i, l := range p.Rlimits {
				if l != c.want[i] {
					t.Errorf("limit %+v, want %+v", l, c.want[i])
				}
			}
		})
	}
}

func TestRequireControllers(t *testing.T) {
	for name, c := range map[string]struct {
		resources *specs.LinuxResources
		lacking   string // the one controller that is needed; empty for none
	}{
		"no resources":     {nil, ""},
		"no limits":        {&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}, Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}}, ""},
		"zero":             {&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(0))}, CPU: &specs.LinuxCPU{Shares: ptr(uint64(0))}, BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(0))}}, ""},
		"unlimited":        {&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(-1)), Swap: ptr(int64(-1))}, CPU: &specs.LinuxCPU{Quota: ptr(int64(-1))}}, ""},
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
			none := host{controllers: func() ([]string, error) { return nil, nil }}
			err := none.requireControllers(c.resources)
			if c.lacking == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), `"`+c.lacking+`"`) {
				t.Errorf("without: %v", err)
			}
			with := host{controllers: func() ([]string, error) { return []string{"x", c.lacking}, nil }}
			if err := with.requireControllers(c.resources); err != nil {
				t.Errorf("with: %v", err)
			}
			unreadable := host{controllers: func() ([]string, error) { return nil, unix.EIO }}
			if err := unreadable.requireControllers(c.resources); !errors.Is(err, unix.EIO) {
				t.Errorf("unreadable: %v", err)
			}
		})
	}
}

func TestKernelWithoutSeccomp(t *testing.T) {
	spec := &specs.Spec{Linux: &specs.Linux{Seccomp: &specs.LinuxSeccomp{}}}
	h := host{features: newSeccompTable("")}
	if err := h.requireSpec(t.Context(), spec, ociRuntime{}); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "seccomp") {
		t.Errorf("with a profile: %v", err)
	}
	spec.Linux.Seccomp = nil
	if err := h.requireSpec(t.Context(), spec, ociRuntime{}); err != nil {
		t.Errorf("without a profile: %v", err)
	}
	if !hasSeccomp() {
		t.Error("this kernel's seccomp was not found")
	}
}

func TestBuiltWithSeccomp(t *testing.T) {
	for text, lacks := range map[string]bool{
		"crun version 1.8.1\nspec: 1.0.0\n+SYSTEMD +CAP +SECCOMP +EBPF\n": false, "crun version 1.8.1\nspec: 1.0.0\n+SYSTEMD +CAP\n": true,
		"runc version 1.1.5\nlibseccomp: 2.5.4\n": false, "runsc version release\n": false, "": false, "crun ": true,
	} {
		if parseVersion(text) != lacks {
			t.Errorf("%q lacks seccomp: %v", text, !lacks)
		}
	}
	for text, want := range map[string][2]bool{
		`{"linux":{"seccomp":{"enabled":true}}}`: {false, true}, `{"linux":{"seccomp":{"enabled":false}}}`: {true, true},
		`{"linux":{"seccomp":{}}}`: {}, `{"linux":{}}`: {}, `{}`: {}, `null`: {}, `[]`: {}, "garbage": {}, "": {},
	} {
		if lacks, told := parseFeatures([]byte(text)); lacks != want[0] || told != want[1] {
			t.Errorf("%q: %v, %v", text, lacks, told)
		}
	}
}

func TestFirstUserNamespace(t *testing.T) {
	for text, first := range map[string]bool{
		"         0          0 4294967295\n": true, "0 0 4294967295": true, "0 1000 1\n": false, "0 0 1000\n": false, "": false,
		"0 0 4294967295\n1 1 1\n": false, "0 100000 65536": false,
	} {
		if wholeRange([]byte(text)) != first {
			t.Errorf("%q: %v", text, !first)
		}
	}
}
