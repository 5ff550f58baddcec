package tests

import (
	"fmt"
	"slices"
	"strconv"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
)

// pausedReally checks in the kernel's files that all processes are frozen. In version 2, a
// frozen process can be killed by SIGKILL, but gets no other signal.
func pausedReally(g *guest) {
	s := g.spec(`trap "exit 9" TERM; echo ready; while :; do sleep 1000 & wait; done`, nil)
	ctr := g.start("paused", s, libcontainerd.StdioConfig{})
	g.prints(ctr, "ready")
	g.must(ctr.Pause(g.ctx))
	if n := g.number(s, "cgroup.events", "frozen"); n != 1 {
		g.Errorf("frozen is %d after the pause", n)
	}
	g.must(ctr.Signal(g.ctx, libcontainerd.InitProcess, syscall.SIGTERM))
	if n := g.number(s, "cgroup.events", "frozen"); n != 1 {
		g.Errorf("frozen is %d after a signal", n)
	}
	if task, err := g.daemon.Process(g.ctx, "paused", libcontainerd.InitProcess); err != nil ||
		task.Status != libcontainerd.TaskPaused {
		g.Errorf("runtimed says %+v, %v", task, err)
	}
	g.must(ctr.Resume(g.ctx))
	if exit := g.wait(ctr, libcontainerd.InitProcess); exit.Code != 9 {
		g.Errorf("exit %+v after the resume", exit)
	}

	ctr = g.start("killed", g.spec("sleep 1000", nil), libcontainerd.StdioConfig{})
	g.must(ctr.Pause(g.ctx))
	g.must(ctr.Signal(g.ctx, libcontainerd.InitProcess, syscall.SIGKILL))
	if exit := g.wait(ctr, libcontainerd.InitProcess); exit.Code != 137 || exit.OOMKilled {
		g.Errorf("exit %+v of a paused container that was killed", exit)
	}
}

// pauseOutlives kills runtimed while a container is paused. The next runtimed knows that
// it is paused, and can resume it.
func pauseOutlives(g *guest) {
	s := g.spec("read line; exit 7", limits(64<<20, 33, 50_000))
	ctr := g.start("outlives", s, libcontainerd.StdioConfig{Stdin: true})
	g.must(ctr.Pause(g.ctx))
	g.must(syscall.Kill(g.runtimed.runtimedPid(g.T), syscall.SIGKILL))
	g.await("the next runtimed says that it is paused", func() bool {
		task, err := g.daemon.Process(g.ctx, "outlives", libcontainerd.InitProcess)
		return err == nil && task.Status == libcontainerd.TaskPaused
	})
	stats, err := ctr.Stats(g.ctx)
	g.must(err)
	if stats.PidsCurrent != 1 || stats.MemoryLimit != 64<<20 {
		g.Errorf("stats %+v", stats)
	}
	g.must(ctr.Resume(g.ctx))
	if n := g.number(s, "cgroup.events", "frozen"); n != 0 {
		g.Errorf("frozen is %d after the resume", n)
	}
	g.must(ctr.CloseStdin(libcontainerd.InitProcess))
	if exit := g.wait(ctr, libcontainerd.InitProcess); exit.Code != 7 || exit.Unknown != "" {
		g.Errorf("exit %+v", exit)
	}
}

// statsAgree compares the statistics with the kernel's counters.
func statsAgree(g *guest) {
	// The file is in a tmpfs. Its memory is charged to the first writer.
	s := g.spec("dd if=/dev/zero of=/dev/fill bs=64k count=128; echo ready; read line; exit 0",
		limits(64<<20, 33, 50_000))
	for i, m := range s.Mounts {
		if m.Destination == "/dev" {
			s.Mounts[i].Options = []string{"nosuid", "mode=755", "size=16m"}
		}
	}
	ctr := g.start("counted", s, libcontainerd.StdioConfig{Stdin: true})
	g.prints(ctr, "ready")
	before := g.number(s, "cpu.stat", "usage_usec")
	stats, err := ctr.Stats(g.ctx)
	g.must(err)
	after := g.number(s, "cpu.stat", "usage_usec")
	if cpu := stats.CPUTotal / 1000; cpu < before || cpu > after || stats.CPUTotal == 0 ||
		stats.CPUUser+stats.CPUKernel == 0 {
		g.Errorf("CPU: %+v, want %d to %d µs", stats, before, after)
	}
	if stats.MemoryUsage < 8<<20 || stats.MemoryUsage > 64<<20 || stats.MemoryLimit != 64<<20 {
		g.Errorf("memory: %+v", stats)
	}
	if stats.PidsCurrent != 1 || stats.PidsLimit != 33 || stats.ThrottledPeriods == 0 || stats.OOMKills != 0 {
		g.Errorf("processes and periods: %+v", stats)
	}
	g.must(ctr.CloseStdin(libcontainerd.InitProcess))
	g.ends(ctr)
}

// outOfMemory runs a container out of memory: the OOM event comes before the exit.
func outOfMemory(g *guest) {
	ctr := g.start("greedy", g.spec("exec busybox tail /dev/zero", small()), libcontainerd.StdioConfig{})
	if exit := g.wait(ctr, libcontainerd.InitProcess); exit.Code != 137 || !exit.OOMKilled {
		g.Errorf("exit %+v", exit)
	}
	want := []libcontainerd.EventType{libcontainerd.EventStart, libcontainerd.EventOOM, libcontainerd.EventExit}
	if got := libcontainerdtest.Types(g.recorder.Events("greedy")); !slices.Equal(got, want) {
		g.Errorf("events %v", got)
	}
}

// small is a small limit of memory, without swap.
func small() *specs.LinuxResources {
	memory := int64(16 << 20)
	return &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &memory, Swap: &memory}}
}

// childOutOfMemory runs a child of the container out of memory, in a group below the
// container's. The count of the container's own group includes that kill.
func childOutOfMemory(g *guest) {
	s := writable(g.spec(`mkdir /sys/fs/cgroup/below
		(echo 0 > /sys/fs/cgroup/below/cgroup.procs; exec busybox tail /dev/zero)
		echo "the child ended with $?"; cat`, small()))
	ctr := g.start("parent", s, libcontainerd.StdioConfig{Stdin: true})
	g.prints(ctr, "the child ended with 137\n")
	stats, err := ctr.Stats(g.ctx)
	g.must(err)
	if stats.OOMKills != 1 {
		g.Errorf("stats %+v", stats)
	}
	g.must(ctr.CloseStdin(libcontainerd.InitProcess))
	if exit := g.wait(ctr, libcontainerd.InitProcess); exit.Code != 0 || !exit.OOMKilled {
		g.Errorf("exit %+v", exit)
	}
}

// writable lets a container change its control groups.
func writable(s *specs.Spec) *specs.Spec {
	for i, m := range s.Mounts {
		if m.Destination == "/sys/fs/cgroup" {
			s.Mounts[i].Options = []string{"rw", "nosuid", "noexec", "nodev"}
		}
	}
	return s
}

// nestedGroups runs a container that divides its control group, as an init system does.
// Its own group has controllers for the groups below, and can't have processes.
func nestedGroups(g *guest) {
	s := writable(g.spec(`cd /sys/fs/cgroup; mkdir init app
		echo 0 > init/cgroup.procs; echo +memory +pids > cgroup.subtree_control
		(echo 0 > app/cgroup.procs; exec sleep 1000) & echo ready; read line`, limits(64<<20, 33, 50_000)))
	ctr := g.start("divided", s, libcontainerd.StdioConfig{Stdin: true})
	g.prints(ctr, "ready")
	var app string
	g.await("the child is in its group", func() bool { app = g.read(s, "app/cgroup.procs"); return app != "" })
	child, err := strconv.Atoi(app)
	g.must(err)
	_, err = ctr.Exec(g.ctx, "e", scriptProcess("exit 5"), libcontainerd.StdioConfig{})
	g.must(err)
	if exit := g.wait(ctr, "e"); exit.Code != 5 {
		g.Errorf("exec: exit %+v", exit)
	}
	pids, err := ctr.Pids(g.ctx)
	g.must(err)
	stats, err := ctr.Stats(g.ctx)
	g.must(err)
	if !slices.Contains(pids, ctr.Pid()) || !slices.Contains(pids, child) || stats.PidsCurrent != 2 {
		g.Errorf("processes %v with %d and %d, stats %+v", pids, ctr.Pid(), child, stats)
	}
	g.must(ctr.Pause(g.ctx))
	if n := g.number(s, "app/cgroup.events", "frozen"); n != 1 {
		g.Errorf("frozen is %d in the group below", n)
	}
	g.must(ctr.Resume(g.ctx))
	g.must(ctr.Delete(g.ctx, libcontainerd.DeleteOptions{Force: true}))
	g.gone(s)
}

// hostPidsEnd runs a container without a pid namespace of its own. Processes that its init
// process leaves behind are killed.
func hostPidsEnd(g *guest) {
	s := g.spec("sleep 1000 & echo $!; exit 0", nil)
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces,
		func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace })
	ctr := g.start("rest", s, libcontainerd.StdioConfig{})
	var left int
	if _, err := fmt.Sscan(g.ends(ctr), &left); err != nil {
		g.Fatal(err)
	}
	g.await("what was left has ended", func() bool { return !alive(left) })
}
