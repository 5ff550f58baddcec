package tests

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/internal/logrusslog"
	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/remote"
)

// messages collects log messages.
type messages struct {
	mu  sync.Mutex
	all []string
}

func (m *messages) Levels() []logrus.Level { return logrus.AllLevels }

func (m *messages) Fire(e *logrus.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, fmt.Sprintf("%v %v: %s", e.Level, e.Data["from"], e.Message))
	return nil
}

// since returns the messages after the first n.
func (m *messages) since(n int) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.all[n:]...)
}

// supervised returns options for a containerd in a directory of its own. Nothing may be
// left of it.
func supervised(t *testing.T, release containerdRelease) (remote.SupervisorOptions, *messages) {
	dir, err := os.MkdirTemp("", "sup-") // short: a socket's path may have 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	log, collected := logrus.New(), &messages{}
	log.SetOutput(t.Output())
	log.SetLevel(logrus.DebugLevel)
	log.AddHook(collected)
	o := remote.SupervisorOptions{
		Binary: release.binary, Root: filepath.Join(dir, "root"), Dir: filepath.Join(dir, "run"),
		Log: logrusslog.New(logrus.NewEntry(log)),
	}
	t.Cleanup(func() {
		if pid := daemonOf(o.Dir); pid > 0 {
			t.Errorf("containerd is left as process %d", pid)
			syscall.Kill(pid, syscall.SIGKILL)
		}
		removeTree(t, dir)
	})
	return o, collected
}

// daemonOf is the containerd that a supervisor started for a directory; 0 for none.
func daemonOf(dir string) int {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		line, _ := os.ReadFile(path)
		if strings.HasSuffix(string(line), "\x00--config\x00"+filepath.Join(dir, "config.toml")+"\x00") {
			var pid int
			if _, err := fmt.Sscanf(path, "/proc/%d/", &pid); err == nil {
				return pid
			}
		}
	}
	return 0
}

func supervise(t *testing.T, o remote.SupervisorOptions) *remote.Supervisor {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	s, err := remote.Supervise(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSupervise kills each containerd below a supervisor, leaves it, and takes it over
// with another supervisor, while containers run.
func TestSupervise(t *testing.T) {
	rootfs := busyboxRootfs(t)
	onEach(t, newest(containerds(t)), func(t *testing.T, release containerdRelease) {
		o, messages := supervised(t, release)
		before := pidfds(t)
		s := supervise(t, o)
		if _, err := remote.Supervise(t.Context(), o); !errdefs.IsAlreadyExists(err) {
			t.Errorf("a second supervisor: %v", err)
		}
		namespace := fmt.Sprintf("supervise-%s-%d", release.version, os.Getpid())
		t.Cleanup(func() { noRuncState(t, namespace) })
		ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
		defer cancel()
		d := dialDaemon(ctx, t, s.Address(), namespace)
		if name, version, err := d.Version(ctx); err != nil || name != "containerd" ||
			!strings.HasPrefix(version, release.version+".") {
			t.Errorf("%s %s, %v", name, version, err)
		}
		bareTask(ctx, t, d, rootfs, "sleeps", "sleep 1000")
		ends := bareTask(ctx, t, d, rootfs, "ends", "until [ -e /go ]; do sleep 0.05; done; exit 7")

		killed := s.Pid()
		restarted(ctx, t, s, d)
		runs(ctx, t, d, "sleeps")
		checkShims(t, s.Address(), release)

		// containerd runs on without a supervisor, and waits for the exits.
		left := s.Pid()
		if err := s.Leave(); err != nil || left == killed || !alive(left) {
			t.Fatalf("process %d after %d: %v", left, killed, err)
		}
		process, err := d.Process(ctx, ends, libcontainerd.InitProcess)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(rootfs, "go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		await(t, "the container ends", func() bool { return !alive(process.Pid) })
		// Meanwhile its log has no reader, which does no harm.
		bareTask(ctx, t, d, rootfs, "not-logged", "exit 0")
		removeTask(ctx, t, d, "not-logged")

		s = supervise(t, o)
		if s.Pid() != left {
			t.Errorf("process %d was not taken up, but %d started", left, s.Pid())
		}
		if exit, err := d.Wait(ctx, ends, libcontainerd.InitProcess); err != nil || exit.Code != 7 ||
			exit.Unknown != "" {
			t.Errorf("exit %+v, %v", exit, err)
		}
		heard := len(messages.since(0))
		awaitLog(ctx, t, d, rootfs, func() []string { return messages.since(heard) })
		restarted(ctx, t, s, d)
		runs(ctx, t, d, "sleeps")

		checkForgottenTask(ctx, t, d, ends, release)
		removeTask(ctx, t, d, "sleeps")
		if err := d.DeleteContainer(ctx, ends); err != nil {
			t.Error(err)
		}
		// A containerd that is about to end does not disturb the next supervisor.
		if err := s.Leave(); err != nil {
			t.Error(err)
		}
		if err := syscall.Kill(s.Pid(), syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		s = supervise(t, o)
		await(t, "containerd serves again", func() bool { return alive(s.Pid()) && d.Healthy(ctx) == nil })
		last := s.Pid()
		if err := s.Close(); err != nil || alive(last) {
			t.Errorf("process %d after its end: %v", last, err)
		}
		if after := pidfds(t); after != before {
			t.Errorf("%d descriptors of processes, %d before", after, before)
		}
		if err := os.Remove(filepath.Join(rootfs, "go")); err != nil {
			t.Error(err)
		}
	})
}

// pidfds counts this process's pidfds.
func pidfds(t *testing.T) int {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.Contains(target, "pidfd") {
			n++
		}
	}
	return n
}

// checkShims checks that a containerd runs the shims of its own release: the machine has
// several releases.
func checkShims(t *testing.T, address string, release containerdRelease) {
	t.Helper()
	binary, err := filepath.EvalSymlinks(release.binary)
	if err != nil {
		t.Fatal(err)
	}
	found := shimsOf(address)
	if len(found) == 0 {
		t.Error("there is no shim")
	}
	for _, proc := range found {
		if exe := readLink(t, filepath.Join(proc, "exe")); exe != filepath.Join(filepath.Dir(binary),
			"containerd-shim-runc-v2") {
			t.Errorf("containerd %s runs the shim %s", release.version, exe)
		}
	}
}

// checkForgottenTask shows why containerd must outlive its supervisor: after its restart,
// 2.4 has deleted the tasks that had ended.
func checkForgottenTask(ctx context.Context, t *testing.T, d *remote.Daemon, ended string, release containerdRelease) {
	t.Helper()
	exit, err := d.Delete(ctx, ended, libcontainerd.InitProcess)
	if lost := errdefs.IsNotFound(err); lost != (release.version == "2.4") || !lost && (err != nil || exit.Code != 7) {
		t.Errorf("what containerd %s knows of a task that ended before: %+v, %v", release.version, exit, err)
	}
}

func dialDaemon(ctx context.Context, t *testing.T, address, namespace string) *remote.Daemon {
	t.Helper()
	d, err := remote.New(ctx, remote.Options{Address: address, Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// restarted kills a supervised containerd and waits until the next one serves.
func restarted(ctx context.Context, t *testing.T, s *remote.Supervisor, d *remote.Daemon) {
	t.Helper()
	pid := s.Pid()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "containerd serves again", func() bool { return s.Pid() != pid && d.Healthy(ctx) == nil })
}

func runs(ctx context.Context, t *testing.T, d *remote.Daemon, id string) {
	t.Helper()
	p, err := d.Process(ctx, id, libcontainerd.InitProcess)
	if err != nil || p.Status != libcontainerd.TaskRunning || !alive(p.Pid) {
		t.Errorf("%s: %+v, %v", id, p, err)
	}
}

// awaitLog starts a task and waits for a message about it at level "info" from containerd
// or its shim.
func awaitLog(ctx context.Context, t *testing.T, d *remote.Daemon, rootfs string, messages func() []string) {
	t.Helper()
	bareTask(ctx, t, d, rootfs, "logged", "exit 0")
	await(t, "a message of containerd is logged", func() bool {
		for _, m := range messages() {
			if strings.HasPrefix(m, "info containerd: ") {
				return true
			}
		}
		return false
	})
	removeTask(ctx, t, d, "logged")
}
