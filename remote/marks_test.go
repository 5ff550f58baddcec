package remote

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	tasktypes "github.com/containerd/containerd/api/types/task"
)

// sleeping starts a program that ends with the test.
func sleeping(t *testing.T, flags uintptr, argv ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // the error says that it was killed
	})
	return cmd
}

// within30 waits up to 30 s for a condition, by polling.
func within30(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

func childrenOf(pid int) []string {
	list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	return strings.Fields(string(list))
}

// TestMarksOfPidNamespace finds the processes of a container by its pid namespace, also a
// process in a nested namespace.
func TestMarksOfPidNamespace(t *testing.T) {
	init := sleeping(t, syscall.CLONE_NEWPID, "unshare", "--fork", "--pid", "sleep", "1000")
	stranger := sleeping(t, 0, "sleep", "1000")
	within30(t, "the child is there", func() bool { return len(childrenOf(init.Process.Pid)) == 1 })
	child, err := strconv.Atoi(childrenOf(init.Process.Pid)[0])
	if err != nil {
		t.Fatal(err)
	}
	within30(t, "the child is in a namespace of its own", func() bool {
		ns := pidNamespace(child)
		return ns != "" && ns != pidNamespace(init.Process.Pid)
	})
	m := marksOf(init.Process.Pid)
	for pid, want := range map[int]bool{init.Process.Pid: true, child: true, stranger.Process.Pid: false,
		os.Getpid(): false, 1: false, 0: false} {
		if got := m.has(pid); got != want {
			t.Errorf("process %d (init %d, child %d, stranger %d): %t", pid, init.Process.Pid, child,
				stranger.Process.Pid, got)
		}
	}
}

// groupIn makes a control group that is removed with the test.
func groupIn(t *testing.T, parent, name string) string {
	t.Helper()
	dir := filepath.Join(parent, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { within30(t, dir+" is removed", func() bool { return os.Remove(dir) == nil }) })
	return dir
}

func join(t *testing.T, group string, cmd *exec.Cmd) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
}

// TestMarksOfControlGroup finds the processes of a container that shares the host's pid
// namespace by its control group.
func TestMarksOfControlGroup(t *testing.T) {
	root := "/sys/fs/cgroup/pids"
	if _, err := os.Stat(root); err != nil {
		root = "/sys/fs/cgroup" // version 2
	}
	pod := groupIn(t, root, fmt.Sprintf("engine-lite-marks-%d", os.Getpid()))
	group := groupIn(t, pod, "container")
	below, other := groupIn(t, group, "below"), groupIn(t, pod, "container-2")
	init, deep, stranger := sleeping(t, 0, "sleep", "1000"), sleeping(t, 0, "sleep", "1000"),
		sleeping(t, 0, "sleep", "1000")
	join(t, group, init)
	join(t, below, deep)
	join(t, other, stranger)
	m := marksOf(init.Process.Pid)
	for pid, want := range map[int]bool{init.Process.Pid: true, deep.Process.Pid: true, stranger.Process.Pid: false,
		os.Getpid(): false, 1: false} {
		if got := m.has(pid); got != want {
			t.Errorf("process %d (init %d, below %d, stranger %d): %t", pid, init.Process.Pid, deep.Process.Pid,
				stranger.Process.Pid, got)
		}
	}
	if m := marksOf(stranger.Process.Pid + 1<<22); m.has(stranger.Process.Pid) || m.has(os.Getpid()) {
		t.Error("a container without a process has some")
	}
}

// TestProcessesOfTheHost has a daemon report pids of another kernel, and pids of another
// container. Their command lines are not in the result.
func TestProcessesOfTheHost(t *testing.T) {
	init, stranger := sleeping(t, syscall.CLONE_NEWPID, "sleep", "1000"), sleeping(t, 0, "sleep", "2000")
	h := &hostile{process: &tasktypes.Process{Pid: uint32(init.Process.Pid), Status: tasktypes.Status_RUNNING}}
	for _, pid := range []int{1, 2, os.Getpid(), stranger.Process.Pid, init.Process.Pid} {
		h.pids = append(h.pids, &tasktypes.ProcessInfo{Pid: uint32(pid)})
	}
	d, _ := h.serve(t)
	all, err := d.Processes(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].Pid != init.Process.Pid || !slices.Equal(all[0].Args, []string{"sleep", "1000"}) {
		t.Errorf("init is %d: %+v", init.Process.Pid, all)
	}
}

func TestParseParent(t *testing.T) {
	for status, want := range map[string]int{
		"Name:\tsh\nPid:\t9\nPPid:\t7\nTracerPid:\t0\n": 7, "": 0, "PPid:\t7\n": 0, "Name:\tPPid:\nPPid:\t0\n": 0,
		"x\nPPid:\t-1\n": 0, "x\nPPid:\t8": 8,
	} {
		if got := parseParent(status); got != want {
			t.Errorf("%q: %d", status, got)
		}
	}
}

// FuzzControlGroups reads arbitrary names of control groups.
func FuzzControlGroups(f *testing.F) {
	for _, file := range []string{"", "0::/a\n", "12:cpu,cpuacct:/a:b\n0::/\n", "1:name=systemd:/../x", "::",
		"1:cpu:a\n"} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file string) {
		for hierarchy, path := range parseControlGroups(file) {
			if !strings.Contains(file, hierarchy+":"+path) || !strings.HasPrefix(path, "/") ||
				strings.Contains(path, "\n") {
				t.Fatalf("%q: %q of %q", path, hierarchy, file)
			}
		}
	})
}
