package tests

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/containerd/cgroups/v3"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.uber.org/goleak"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
)

// guestTests run only inside of the virtual machines of TestControlGroups2.
var guestTests = []testing.InternalTest{
	{Name: "Runc", F: func(t *testing.T) { guestRuntimed(t, "runc") }},
	{Name: "Crun", F: func(t *testing.T) { guestRuntimed(t, "crun") }},
	{Name: "Engine", F: guestEngine},
	{Name: "WithoutMemory", F: guestWithoutMemory},
}

// insideMachine is true inside of a virtual machine.
func insideMachine() bool { return os.Getenv(guestMark) != "" }

// runInMachine runs guestTests in place of this package's tests, and ends the process.
func runInMachine() { testing.Main(regexp.MatchString, guestTests, nil, nil) }

// guestRuntimed tests runtimed with one OCI runtime.
func guestRuntimed(t *testing.T, ociRuntime string) {
	t.Cleanup(func() { goleak.VerifyNone(t) }) // after all other cleanups
	if cgroups.Mode() != cgroups.Unified {
		t.Fatal("this machine's control groups are not of version 2 alone")
	}
	daemon, rootfs := startRuntimed(t, guestPrograms, ociRuntime), busyboxRootfs(t)
	for _, c := range guestCases {
		t.Run(c.name, func(t *testing.T) { c.run(newGuest(t, daemon, rootfs, c.name)) })
	}
	t.Run("contract", func(t *testing.T) {
		runContract(t, daemon, rootfs, libcontainerd.CreateOptions{}, skippedInMachine...)
	})
}

// guestCases are the tests of runtimed with control groups.
var guestCases = []struct {
	name string
	run  func(*guest)
}{
	{"limits", limitsShown},
	{"update", limitsUpdated},
	{"pause", pausedReally},
	{"pause-outlives-runtimed", pauseOutlives},
	{"stats", statsAgree},
	{"exec", execJoins},
	{"memory", outOfMemory},
	{"memory-of-a-child", childOutOfMemory},
	{"nested", nestedGroups},
	{"host-pids", hostPidsEnd},
}

// skippedInMachine are the cases of the contract suite that the machine does not run: the
// whole suite would take 5 minutes there.
var skippedInMachine = func() []libcontainerdtest.Without {
	var list []libcontainerdtest.Without
	for _, name := range []string{
		"run/", "exec/", "stdin/", "failure/", "event/", "restore/", "checkpoint/", "race/",
		"state/two starts at once", "state/start of a running one", "state/command lines",
		"state/checkpoint is refused", "state/ids",
		"stop/by its signal", "stop/by force after the grace", "stop/two at once", "stop/with execs",
		"stop/never ran, has ended, runs again",
	} {
		list = append(list, libcontainerdtest.Without{Case: name,
			Reason: "the version of control groups doesn't matter to it"})
	}
	return list
}()

// guest is a client of the client layer, on a runtimed inside of the machine.
type guest struct {
	*engine
	runtimed *privateRuntimed
	rootfs   string
	groups   *groups
}

func newGuest(t *testing.T, daemon *privateRuntimed, rootfs, namespace string) *guest {
	groups := newGroups(t)
	return &guest{engine: newEngine(t, daemon.dial(t, namespace)), runtimed: daemon, rootfs: rootfs, groups: groups}
}

// spec is a container with limits that sees its control group in a namespace of its own,
// like Docker's containers.
func (g *guest) spec(script string, limits *specs.LinuxResources) *specs.Spec {
	s := g.groups.place(scriptSpec(g.rootfs, script))
	s.Mounts = append(s.Mounts,
		specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro"}},
		specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
			Options: []string{"ro", "nosuid", "noexec", "nodev"}})
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	s.Linux.Resources = limits
	return s
}

// read returns the content of a file of a container's control group.
func (g *guest) read(s *specs.Spec, name string) string {
	g.Helper()
	data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", s.Linux.CgroupsPath, name))
	g.must(err)
	return strings.TrimSpace(string(data))
}

// number returns a number from a file of a control group with lines "name number".
func (g *guest) number(s *specs.Spec, file, name string) uint64 {
	g.Helper()
	for line := range strings.Lines(g.read(s, file)) {
		var n uint64
		if _, err := fmt.Sscanf(line, name+" %d", &n); err == nil {
			return n
		}
	}
	g.Fatalf("%s has no %s", file, name)
	return 0
}

// gone checks that a container has no control group any more.
func (g *guest) gone(s *specs.Spec) {
	g.Helper()
	if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", s.Linux.CgroupsPath)); !errors.Is(err, fs.ErrNotExist) {
		g.Errorf("the control group of a container that is gone: %v", err)
	}
}

// ends waits for a container that must end with 0, and returns its output.
func (g *guest) ends(ctr *libcontainerd.Container) string {
	g.Helper()
	exit := g.wait(ctr, libcontainerd.InitProcess)
	output := g.recorder.Output(ctr.ID(), libcontainerd.InitProcess)
	if exit.Code != 0 || exit.Unknown != "" {
		g.Fatalf("exit %+v\n%s", exit, output)
	}
	return output
}

// prints waits until a container's output contains a text.
func (g *guest) prints(ctr *libcontainerd.Container, text string) {
	g.Helper()
	g.await("the container prints "+text, func() bool {
		return strings.Contains(g.recorder.Output(ctr.ID(), libcontainerd.InitProcess), text)
	})
}
