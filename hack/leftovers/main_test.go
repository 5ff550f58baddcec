package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFindsWhatIsLeft leaves one of each kind and expects each in the list.
func TestFindsWhatIsLeft(t *testing.T) {
	t.Setenv(markName, t.Name())
	before, err := look()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "leftovers-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	fifo := filepath.Join("/var/tmp", filepath.Base(dir)+".fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(fifo) })
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=4k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	cgroup := leaveCgroup(t, filepath.Base(dir))
	marked := leave(t, &syscall.SysProcAttr{}, os.Environ())
	contained := leave(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}, []string{})

	after, err := look()
	if err != nil {
		t.Fatal(err)
	}
	left := after.beyond(before)
	for _, want := range []string{
		"process " + marked, "process " + contained, "mount " + dir + " (tmpfs)", "cgroup " + cgroup,
		"file " + dir + " (directory)", "file " + fifo + " (FIFO)", "network namespace net:[",
	} {
		if !slices.ContainsFunc(left, func(line string) bool { return strings.HasPrefix(line, want) }) {
			t.Errorf("%q is not in the list:\n%s", want, strings.Join(left, "\n"))
		}
	}
}

// leave starts a process that ends with the test, and returns its id.
func leave(t *testing.T, attr *syscall.SysProcAttr, env []string) string {
	t.Helper()
	cmd := exec.Command("/bin/cat")
	cmd.Env, cmd.SysProcAttr = env, attr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	return strconv.Itoa(cmd.Process.Pid) + " "
}

func leaveCgroup(t *testing.T, name string) string {
	t.Helper()
	for _, hierarchy := range []string{"pids", "unified", ""} {
		dir := filepath.Join(cgroupRoot, hierarchy, name)
		if os.Mkdir(dir, 0o755) == nil {
			t.Cleanup(func() { _ = os.Remove(dir) })
			return dir
		}
	}
	t.Fatal("no cgroup hierarchy is writable")
	return ""
}

func TestNothingLeft(t *testing.T) {
	s := snapshot{"file": {"/a": "/a (file)"}}
	if left := s.beyond(snapshot{"file": {"/a": "", "/b": ""}}); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

func TestParseStat(t *testing.T) {
	line := "7 (a) b (c) S 3" + strings.Repeat(" 0", 17) + " 4242 0"
	got, err := parseStat(line)
	if want := (procStat{name: "a) b (c", state: "S", parent: "3", start: "4242"}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("1 (init) S 0 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 5")
	f.Add(")(")
	f.Add("")
	f.Fuzz(func(_ *testing.T, line string) { _, _ = parseStat(line) })
}

func FuzzParseMount(f *testing.F) {
	f.Add("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue")
	f.Add("- - - - - - -")
	f.Fuzz(func(t *testing.T, line string) {
		if id, text, err := parseMount(line); err == nil && (id == "" || text == "") {
			t.Errorf("%q: a mount without name", line)
		}
	})
}
