package fifo

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A user other than root opens /dev/stdout again. That works because runc changes the
// owner of the FIFO, which the check for swaps must allow. Needs root and runc.
func TestRuncUserReopensStdout(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader := openStdout(t, set)
	bundle := makeBundle(t, 1000, `read line; echo "$line" >/dev/stdout; echo gone >/dev/stderr; exit 7`)
	stderr, err := set.OpenStderr(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	stdin := openStdin(t, set)

	container := createContainer(t, set, bundle)
	if _, err := stdin.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	runc(t, bundle, "start", container.id)
	if code := container.wait(t); code != 7 {
		t.Errorf("exit code %d", code)
	}
	reader.ExitKnown()
	stderr.ExitKnown()
	for want, r := range map[string]io.Reader{"hello\n": reader, "gone\n": stderr} {
		if all, err := io.ReadAll(r); err != nil || string(all) != want {
			t.Errorf("output %q, %v", all, err)
		}
	}
	info, err := os.Stat(set.Paths().Stdout)
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 1000 {
		t.Errorf("runc left the FIFO to %d: the test proves nothing", uid)
	}
	openStdout(t, set).Close()
	if err := stdin.Abort(); err != nil {
		t.Error(err)
	}
	if err := set.Remove(); err != nil {
		t.Error(err)
	}
}

type runcContainer struct {
	id  string
	pid int
}

// createContainer does the work of a runtime daemon. It is also the subreaper whose child
// the container becomes when runc has exited.
func createContainer(t *testing.T, set *Set, bundle string) runcContainer {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
	id := "fifo-test-" + strconv.Itoa(os.Getpid())
	pidFile := filepath.Join(bundle, "pid")
	files := openContainer(t, set.Paths())
	cmd := exec.Command("runc", "--root", filepath.Join(bundle, "state"),
		"--log", filepath.Join(bundle, "log"), "create", "--bundle", bundle, "--pid-file", pidFile, id)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files.Stdin, files.Stdout, files.Stderr
	if err := cmd.Run(); err != nil {
		log, _ := os.ReadFile(filepath.Join(bundle, "log"))
		t.Fatalf("runc create: %v: %s", err, log)
	}
	t.Cleanup(func() { runc(t, bundle, "delete", "--force", id) })
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return runcContainer{id: id, pid: pid}
}

func (c runcContainer) wait(t *testing.T) int {
	t.Helper()
	var status unix.WaitStatus
	_, err := ignoringEINTR(func() (int, error) { return unix.Wait4(c.pid, &status, 0, nil) })
	if err != nil {
		t.Fatal(err)
	}
	return status.ExitStatus()
}

func runc(t *testing.T, bundle string, args ...string) {
	t.Helper()
	out, err := exec.Command("runc", append([]string{"--root", filepath.Join(bundle, "state")},
		args...)...).CombinedOutput()
	if err != nil {
		t.Errorf("runc %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// makeBundle makes an OCI bundle whose root file system is busybox.
func makeBundle(t *testing.T, uid uint32, script string) string {
	t.Helper()
	bundle := t.TempDir()
	bin := filepath.Join(bundle, "rootfs", "bin")
	for _, dir := range []string{bin, filepath.Join(bundle, "rootfs", "proc"), filepath.Join(bundle, "rootfs", "dev")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	binary, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "sh"), binary, 0o755); err != nil {
		t.Fatal(err)
	}
	spec, err := json.Marshal(makeSpec(uid, script))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), spec, 0o600); err != nil {
		t.Fatal(err)
	}
	return bundle
}

func makeSpec(uid uint32, script string) specs.Spec {
	return specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{
			User: specs.User{UID: uid, GID: uid},
			Args: []string{"/bin/sh", "-c", script},
			Env:  []string{"PATH=/bin"},
			Cwd:  "/",
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
			{Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace},
		}},
	}
}
