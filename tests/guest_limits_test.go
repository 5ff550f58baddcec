package tests

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.uber.org/goleak"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// limits are all limits that Docker's API has. Swap is the sum of memory and swap, as
// there.
func limits(memory, pids, quota int64) *specs.LinuxResources {
	swap, reservation := memory+memory/2, memory/2
	period, shares := uint64(100_000), uint64(512)
	return &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &memory, Swap: &swap, Reservation: &reservation},
		CPU:    &specs.LinuxCPU{Quota: &quota, Period: &period, Shares: &shares, Cpus: "0"},
		Pids:   &specs.LinuxPids{Limit: &pids},
	}
}

// limitFiles are the files of these limits in version 2.
var limitFiles = []string{"memory.max", "memory.swap.max", "memory.low", "pids.max", "cpu.max", "cpuset.cpus"}

// limitsShown reads the limits inside of the container and from outside.
func limitsShown(g *guest) {
	const script = `exec 2>&1; cat /proc/self/cgroup; cd /sys/fs/cgroup; for f in "$@"; do echo "$f=$(cat $f)"; done; ` +
		`if echo 1 > memory.max; then echo "and they can be changed"; fi`
	s := g.spec(script, limits(64<<20, 33, 50_000))
	s.Process.Args = append(append(s.Process.Args, "sh"), limitFiles...)
	ctr := g.start("limited", s, libcontainerd.StdioConfig{})
	got := strings.Split(strings.TrimSpace(g.ends(ctr)), "\n")
	want := []string{"0::/", "memory.max=67108864", "memory.swap.max=33554432", "memory.low=33554432", "pids.max=33",
		"cpu.max=50000 100000", "cpuset.cpus=0"}
	if got = slices.DeleteFunc(got,
		func(line string) bool { return strings.Contains(line, "Read-only file system") }); !slices.Equal(got, want) {
		g.Errorf("inside: %q\nwant %q", got, want)
	}
	for _, line := range want[1:] {
		file, value, _ := strings.Cut(line, "=")
		if got := g.read(s, file); got != value {
			g.Errorf("outside: %s is %q, want %q", file, got, value)
		}
	}
	// 512 of 1024 shares are less than the usual weight of 100. OCI runtimes compute different
	// weights.
	if weight, err := strconv.Atoi(g.read(s, "cpu.weight")); err != nil || weight < 2 || weight > 99 {
		g.Errorf("cpu.weight is %d, %v", weight, err)
	}
	g.must(ctr.Delete(g.ctx, libcontainerd.DeleteOptions{}))
	g.gone(s)
}

// limitsUpdated changes limits of a container that runs. The other limits stay.
func limitsUpdated(g *guest) {
	s := g.spec("cat", limits(64<<20, 33, 50_000))
	ctr := g.start("updated", s, libcontainerd.StdioConfig{Stdin: true})
	memory, swap, pids, shares := int64(32<<20), int64(40<<20), int64(21), uint64(2048)
	weight := g.read(s, "cpu.weight")
	for _, step := range []struct {
		change *specs.LinuxResources
		want   map[string]string
	}{
		{&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &memory, Swap: &swap}},
			map[string]string{"memory.max": "33554432", "memory.swap.max": "8388608", "pids.max": "33",
				"cpu.max": "50000 100000", "cpu.weight": weight}},
		{&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &pids}},
			map[string]string{"memory.max": "33554432", "pids.max": "21", "cpu.max": "50000 100000",
				"cpu.weight": weight}},
		{limits(96<<20, 44, 70_000),
			map[string]string{"memory.max": "100663296", "memory.swap.max": "50331648", "pids.max": "44",
				"cpu.max": "70000 100000", "cpu.weight": weight}},
	} {
		g.must(ctr.Update(g.ctx, step.change))
		for file, want := range step.want {
			if got := g.read(s, file); got != want {
				g.Errorf("%s is %q, want %q", file, got, want)
			}
		}
	}
	g.must(ctr.Update(g.ctx, &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}))
	if got, err := strconv.Atoi(g.read(s, "cpu.weight")); err != nil || got <= 50 {
		g.Errorf("cpu.weight is %d, %v", got, err)
	}
	if got := g.read(s, "cpu.max"); got != "70000 100000" {
		g.Errorf("cpu.max is %q after a change of the shares", got)
	}
	g.must(ctr.CloseStdin(libcontainerd.InitProcess))
	g.ends(ctr)
}

// execJoins runs an exec: the container's limits hold for it.
func execJoins(g *guest) {
	s := g.spec("cat", limits(64<<20, 33, 50_000))
	ctr := g.start("joined", s, libcontainerd.StdioConfig{Stdin: true})
	pid, err := ctr.Exec(g.ctx, "e", scriptProcess("cat /proc/self/cgroup /sys/fs/cgroup/pids.max; cat"),
		libcontainerd.StdioConfig{Stdin: true})
	g.must(err)
	g.await("the exec tells of its group", func() bool { return g.recorder.Output("joined", "e") == "0::/\n33\n" })
	members := strings.Fields(g.read(s, "cgroup.procs"))
	list, err := ctr.Pids(g.ctx)
	g.must(err)
	for _, want := range []int{ctr.Pid(), pid} {
		if !slices.Contains(list, want) || !slices.Contains(members, strconv.Itoa(want)) {
			g.Errorf("process %d is not among %v and %v", want, list, members)
		}
	}
	g.must(ctr.CloseStdin("e"))
	if exit := g.wait(ctr, "e"); exit.Code != 0 || exit.Unknown != "" {
		g.Errorf("exec: exit %+v", exit)
	}
}

// guestWithoutMemory runs on a kernel without the memory controller. A limit that could
// not be enforced is refused, by its name. All else works.
func guestWithoutMemory(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) }) // after all other cleanups
	daemon, rootfs := startRuntimed(t, guestPrograms, "crun"), busyboxRootfs(t)
	g := newGuest(t, daemon, rootfs, "without-memory")
	refused := func(err error) {
		t.Helper()
		if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), `"memory"`) {
			t.Errorf("a limit of memory: %v", err)
		}
	}
	s := g.spec("exit 0", small())
	ctr, err := g.client.Create(g.ctx, "limited", s, libcontainerd.CreateOptions{})
	g.must(err)
	_, err = ctr.Start(g.ctx, libcontainerd.StartOptions{})
	refused(err)
	g.gone(s)

	limits := limits(64<<20, 33, 50_000)
	limits.Memory = nil
	ctr = g.start("other", g.spec("read line; exit 0", limits), libcontainerd.StdioConfig{Stdin: true})
	refused(ctr.Update(g.ctx, small()))
	stats, err := ctr.Stats(g.ctx)
	g.must(err)
	if stats.PidsCurrent != 1 || stats.PidsLimit != 33 || stats.CPUTotal == 0 || stats.MemoryUsage != 0 ||
		stats.MemoryLimit != 0 {
		t.Errorf("stats %+v", stats)
	}
	g.must(ctr.Pause(g.ctx))
	g.must(ctr.Resume(g.ctx))
	g.must(ctr.CloseStdin(libcontainerd.InitProcess))
	if exit := g.wait(ctr, libcontainerd.InitProcess); exit.Code != 0 || exit.OOMKilled {
		t.Errorf("exit %+v", exit)
	}
}
