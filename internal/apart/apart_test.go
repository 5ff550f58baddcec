package apart

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// leaveVariable has the test program leave something, for TestEnterTellsOfWhatIsLeft.
const leaveVariable = "ENGINE_LITE_APART_LEAVE"

func TestMain(m *testing.M) {
	if code, done := Enter(); done {
		os.Exit(code)
	}
	switch what := os.Getenv(leaveVariable); what {
	case "":
		goleak.VerifyTestMain(m)
	case "code":
		os.Exit(7)
	default:
		if err := leave(what); err != nil {
			fmt.Println(err)
			os.Exit(9)
		}
	}
}

// leave leaves a control group of a name, or a process.
func leave(what string) error {
	if what == "process" {
		return exec.Command("/bin/sleep", "1000").Start()
	}
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	return os.Mkdir(filepath.Join(dirs[0], what), 0o755)
}

func TestThePlace(t *testing.T) {
	for _, dir := range emptied {
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range list {
			if entry.Name() != "lock" {
				t.Errorf("%s has %s", dir, entry.Name())
			}
		}
	}
	for _, dir := range layered {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil &&
			s.Type != unix.OVERLAYFS_SUPER_MAGIC {
			t.Errorf("%s: %v, type %x", dir, err, s.Type)
		}
	}
	if _, err := os.Stat("/etc/passwd"); err != nil {
		t.Errorf("what is in a layered directory is not seen: %v", err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(own)) {
		if !strings.HasSuffix(line, ":/"+leaf+"\n") {
			t.Errorf("control group %q", line)
		}
	}
}

// TestControllers does what OCI runtimes do in version 2: a group gets a controller.
func TestControllers(t *testing.T) {
	control := filepath.Join(groupRoot, "cgroup.subtree_control")
	if !exists(control) {
		return // in version 1 a hierarchy has its controllers everywhere
	}
	dir := filepath.Join(groupRoot, "container")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(control, []byte("+pids"), 0)); err != nil {
		t.Fatal(err)
	}
	if !exists(filepath.Join(dir, "pids.max")) {
		t.Error("the group has no pids.max")
	}
	if err := os.Remove(dir); err != nil {
		t.Error(err)
	}
}

func TestLeft(t *testing.T) {
	if left := Left(); len(left) > 0 {
		t.Fatalf("left: %q", left)
	}
	dir := t.TempDir()
	if err := errors.Join(unix.Mount("x", dir, "tmpfs", 0, ""), os.MkdirAll("/run/engine-lite", 0o755)); err != nil {
		t.Fatal(err)
	}
	if left := fmt.Sprint(Left()); left != fmt.Sprintf("[mount %s /run/engine-lite]", dir) {
		t.Errorf("left: %s", left)
	}
	if err := errors.Join(unix.Unmount(dir, 0), os.Remove("/run/engine-lite")); err != nil {
		t.Error(err)
	}
}

// TestEnter has the program enter a place in the place, with something that it leaves there.
func TestEnter(t *testing.T) {
	for _, c := range []struct {
		leave, says string
		code        int
	}{
		{"code", "", 7},
		{"libpod_parent", "", 0},
		{"engine-lite", "left behind: control group /engine-lite", 1},
		{"process", "left behind: process ", 1},
	} {
		t.Run(c.leave, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), variable+"=", leaveVariable+"="+c.leave)
			out, err := cmd.CombinedOutput()
			if code, _ := codeOf(err); code != c.code || !strings.Contains(string(out), c.says) {
				t.Errorf("%v:\n%s", err, out)
			}
			if dirs, _ := filepath.Glob(groupRoot + "/*/engine-lite-apart-*"); len(dirs) > 0 {
				t.Errorf("left: %q", dirs)
			}
		})
	}
}
