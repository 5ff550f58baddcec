package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/engine-lite/engine-lite/remote"
)

// containerdRelease is a containerd that the tests run.
type containerdRelease struct {
	version string // as the daemon reports it, without the last number
	binary  string // its shim is in the same directory
}

// containerds are the distribution's and the one that hack/containerd builds.
func containerds(t *testing.T) []containerdRelease {
	t.Helper()
	distribution, err := exec.LookPath("containerd")
	if err != nil {
		t.Fatalf("this test needs containerd: hack/setup installs it: %v", err)
	}
	built, err := filepath.Abs("../.cache/containerd-2.4/containerd")
	if err != nil {
		t.Fatal(err)
	}
	if !isFile(built) {
		t.Fatalf("this test needs %s: hack/containerd builds it", built)
	}
	return []containerdRelease{{"1.6", distribution}, {"2.4", built}}
}

// eachContainerd runs a test with each containerd.
func eachContainerd(t *testing.T, test func(t *testing.T, c containerdRelease)) {
	onEach(t, containerds(t), test)
}

func onEach(t *testing.T, releases []containerdRelease, test func(t *testing.T, c containerdRelease)) {
	for _, c := range releases {
		t.Run(c.version, func(t *testing.T) { test(t, c) })
	}
}

// environment is an environment in which containerd finds the shim of its own release
// first.
func (c containerdRelease) environment() []string {
	return append(os.Environ(), "PATH="+filepath.Dir(c.binary)+":"+os.Getenv("PATH"))
}

// privateContainerd is a containerd of its own root, state and socket.
type privateContainerd struct {
	release     containerdRelease
	dir         string // short: a socket's path may have 108 bytes
	address     string
	log         buffer
	cmd         *exec.Cmd
	environment []string
}

// startContainerd starts a containerd, with further environment variables. containerd ends
// with the test. Its shims must have ended by then.
func startContainerd(t *testing.T, release containerdRelease, environment ...string) *privateContainerd {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeTree(t, dir) })
	c := &privateContainerd{release: release, dir: dir, address: filepath.Join(dir, "c.sock")}
	// A shim that is killed leaves the spec of the exec that it was starting there.
	c.environment = append(release.environment(), "XDG_RUNTIME_DIR="+dir)
	c.environment = append(c.environment, environment...)
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), containerdConfig(dir, c.address), 0o600); err != nil {
		t.Fatal(err)
	}
	c.start(t)
	t.Cleanup(func() { c.stop(t) })
	return c
}

// start starts containerd, also after kill.
func (c *privateContainerd) start(t *testing.T) {
	t.Helper()
	c.cmd = exec.Command(c.release.binary, "--config", filepath.Join(c.dir, "config.toml"), "--log-level", "warn")
	c.cmd.Env = c.environment
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// kill kills containerd with SIGKILL. Its shims run on.
func (c *privateContainerd) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait() // the error says that it was killed
}

func containerdConfig(dir, address string) []byte {
	return fmt.Appendf(nil, `version = 2
root = %q
state = %q
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.internal.v1.restart",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = %q
[plugins."io.containerd.internal.v1.opt"]
  path = %q
`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), address, filepath.Join(dir, "opt"))
}

// stop ends containerd when its last shim has ended.
func (c *privateContainerd) stop(t *testing.T) {
	if !holds(func() bool { return len(shimsOf(c.address)) == 0 }) {
		t.Errorf("shims are left: %q", shimsOf(c.address))
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("containerd: %v", err)
	}
	if t.Failed() {
		t.Logf("containerd's log:\n%s", c.log.String())
	}
}

// shimsOf finds the processes that were started for a containerd, as paths in /proc.
func shimsOf(address string) []string {
	var found []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err == nil && strings.Contains(string(line), "shim") && strings.Contains(string(line), address) {
			found = append(found, dir)
		}
	}
	return found
}

// dial connects to containerd, in a namespace.
func (c *privateContainerd) dial(t *testing.T, namespace string) *remote.Daemon {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := remote.New(ctx, remote.Options{Address: c.address, Namespace: namespace})
	if err != nil {
		t.Fatalf("%v\n%s", err, c.log.String())
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// noRuncState removes the directory that containerd's shims give runc for a
// namespace; it must be empty.
func noRuncState(t *testing.T, namespace string) {
	err := os.Remove(filepath.Join("/run/containerd/runc", namespace))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("runc has containers left: %v", err)
	}
}

// removeTree removes a directory below which nothing may be mounted.
func removeTree(t *testing.T, dir string) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), " "+dir+"/") {
		t.Fatalf("something is mounted below %s", dir)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}
