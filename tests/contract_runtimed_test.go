package tests

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
)

// withoutUnified runs a command in a mount namespace without control groups of version 2.
// crun before 1.9 refuses to run where both versions are mounted.
var withoutUnified = []string{"unshare", "-m", "sh", "-c",
	`if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec "$@"`, "sh"}

// ofTheClient are the cases that depend on the client layer more than on the OCI runtime.
var ofTheClient = []libcontainerdtest.Without{
	{Case: "event/", Reason: "runs with runc, and in long runs"},
	{Case: "restore/", Reason: "runs with runc, and in long runs"},
	{Case: "failure/", Reason: "runs with runc, and in long runs"},
}

// TestContractOnRuntimed runs the client layer's contract suite on runtimed,
// with each OCI runtime.
func TestContractOnRuntimed(t *testing.T) {
	programs, rootfs := buildRuntimed(t), busyboxRootfs(t)
	criuInPath(t)
	for _, c := range []struct {
		ociRuntime string
		wrap       []string
		without    []libcontainerdtest.Without
	}{
		{"runc", nil, nil},
		{"crun", withoutUnified,
			[]libcontainerdtest.Without{{Case: "checkpoint/", Reason: "Debian's crun is built without CRIU"}}},
	} {
		if !long && c.ociRuntime != "runc" {
			c.without = append(c.without, ofTheClient...)
		}
		t.Run(c.ociRuntime, func(t *testing.T) {
			runContract(t, startRuntimed(t, programs, c.ociRuntime, c.wrap...), rootfs, libcontainerd.CreateOptions{},
				c.without...)
		})
	}
}

// runContract runs the suite on a runtimed, each case in a namespace of its own.
func runContract(t *testing.T, daemon *privateRuntimed, rootfs string, options libcontainerd.CreateOptions,
	without ...libcontainerdtest.Without) {
	groups := newGroups(t)
	var namespaces atomic.Int64
	libcontainerdtest.Run(t, func(t *testing.T) libcontainerdtest.Harness {
		streams := t.TempDir()
		return libcontainerdtest.Harness{
			Daemon:  daemon.dial(t, fmt.Sprintf("contract-%d", namespaces.Add(1))),
			Stdio:   libcontainerd.FIFO(streams),
			Spec:    func(script string) *specs.Spec { return groups.place(scriptSpec(rootfs, script)) },
			Process: scriptProcess,
			Options: options,
			Left:    func() []string { return entries(t, streams) },
		}
	}, without...)
}

// groups is a control group of one test. Nothing may be left in it.
type groups struct {
	parent string
	last   atomic.Int64
	// cutOff is true if containerd's client is killed during a create. containerd kills the OCI runtime then, and nobody
	// knows of the group that the runtime had made. So groups without a process may be left.
	cutOff bool
}

var groupParents atomic.Int64

func newGroups(t *testing.T) *groups {
	g := &groups{parent: fmt.Sprintf("/engine-lite-tests-%d-%d", os.Getpid(), groupParents.Add(1))}
	t.Cleanup(func() { g.remove(t) })
	return g
}

// place gives a container a control group.
func (g *groups) place(spec *specs.Spec) *specs.Spec {
	spec.Linux.CgroupsPath = fmt.Sprintf("%s/%d", g.parent, g.last.Add(1))
	return spec
}

// removeEmpty removes the groups in the parent that have no process.
func (g *groups) removeEmpty(t *testing.T, path string) {
	left, err := filepath.Glob(path + "/*/cgroup.procs")
	if err != nil {
		t.Error(err)
	}
	for _, file := range left {
		if os.Remove(filepath.Dir(file)) == nil {
			t.Logf("a create that was cut off has left %s", filepath.Dir(file))
		}
	}
}

// remove removes the parent group. It fails while a container's group is left in it, and tells what is in that group.
func (g *groups) remove(t *testing.T) {
	for _, pattern := range []string{"/sys/fs/cgroup" + g.parent, "/sys/fs/cgroup/*" + g.parent} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Error(err)
		}
		for _, path := range paths {
			if g.cutOff {
				g.removeEmpty(t, path)
			}
			err := os.Remove(path)
			if err == nil || errors.Is(err, os.ErrNotExist) {
				continue
			}
			t.Errorf("a control group is left: %v", err)
			left, _ := filepath.Glob(path + "/*/cgroup.procs")
			for _, file := range left {
				pids, err := os.ReadFile(file)
				t.Logf("%s: %q, %v", file, pids, err)
			}
		}
	}
}
