package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
)

// TestContractOnContainerd runs the client layer's contract suite on each
// containerd, with its shims and runc. A long run has the whole suite on 1.6, others those
// cases that depend most on the release.
func TestContractOnContainerd(t *testing.T) {
	criuInPath(t)
	rootfs := busyboxRootfs(t)
	eachContainerd(t, func(t *testing.T, release containerdRelease) {
		var without []libcontainerdtest.Without
		if !long && release.version == "1.6" {
			for _, group := range []string{"run/", "stdin/", "failure/", "race/", "checkpoint/", "exec/", "stop/", "terminal/"} {
				without = append(without, libcontainerdtest.Without{Case: group, Reason: "runs on 2.4, and on 1.6 in long runs"})
			}
		}
		contractOnContainerd(t, release, rootfs, libcontainerd.CreateOptions{}, without...)
	})
}

func contractOnContainerd(t *testing.T, release containerdRelease, rootfs string, options libcontainerd.CreateOptions,
	without ...libcontainerdtest.Without) {
	daemon := startContainerd(t, release)
	groups := newGroups(t)
	var namespaces atomic.Int64
	libcontainerdtest.Run(t, func(t *testing.T) libcontainerdtest.Harness {
		namespace := fmt.Sprintf("contract-%s-%d-%d", release.version, os.Getpid(), namespaces.Add(1))
		t.Cleanup(func() { noRuncState(t, namespace) })
		streams := t.TempDir()
		return libcontainerdtest.Harness{
			Daemon:  daemon.dial(t, namespace),
			Stdio:   libcontainerd.FIFO(streams),
			Spec:    func(script string) *specs.Spec { return groups.place(scriptSpec(rootfs, script)) },
			Process: scriptProcess,
			Options: options,
			Left:    func() []string { return entries(t, streams) },
		}
	}, without...)
}

// criuInPath puts the CRIU that hack/criu downloads into PATH, where runc looks for it.
func criuInPath(t *testing.T) {
	t.Helper()
	dir, err := filepath.Abs("../.cache/criu")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "criu")); err != nil {
		t.Fatalf("run hack/criu first: %v", err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// busyboxRootfs makes a root filesystem of one static binary.
func busyboxRootfs(t *testing.T) string {
	t.Helper()
	binary, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("this test needs busybox-static: %v", err)
	}
	root := t.TempDir()
	for _, dir := range []string{"bin", "proc", "dev", "sys", "tmp"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), binary, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "cat", "sleep", "echo"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// scriptSpec is a container that runs a script in the root filesystem.
func scriptSpec(rootfs, script string) *specs.Spec {
	return &specs.Spec{
		Version: "1.0.2", Hostname: "contract", Process: scriptProcess(script),
		Root: &specs.Root{Path: rootfs},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=64k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", // for terminals
				Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.MountNamespace}, {Type: specs.NetworkNamespace},
			},
			Resources: &specs.LinuxResources{}, // runsc updates only a container that had some
		},
	}
}

// scriptProcess runs sh -c script. With an empty script, it runs a program that does not
// exist.
func scriptProcess(script string) *specs.Process {
	args := []string{"/bin/sh", "-c", script}
	if script == "" {
		args = []string{"/does-not-exist"}
	}
	return &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}}
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}
