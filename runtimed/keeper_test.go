package runtimed_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/fifo"
	"github.com/engine-lite/engine-lite/keeper"
)

// killKeeper kills the keeper and waits until runtimed has ended because of that.
func (d *daemon) killKeeper() {
	d.t.Helper()
	old := d.runtimedPid()
	check(d.t, d.keeper.Process.Kill())
	d.keeper.Wait() // the error says that it was killed
	d.awaitGone("runtimed", old)
}

func (d *daemon) awaitGone(what string, pid int) {
	d.t.Helper()
	d.await(what+" ends", func() bool {
		_, err := os.Stat("/proc/" + strconv.Itoa(pid))
		return os.IsNotExist(err)
	})
}

// startKeeper starts the next keeper after a kill. wrap is a command that runs it.
func (d *daemon) startKeeper(wrap ...string) {
	d.t.Helper()
	args := append(wrap, filepath.Join(binaries, "keeper"), "--dir", filepath.Join(d.dir, "keeper"), "--runtimed-log",
		filepath.Join(d.dir, "log"), "--")
	args = append(args, d.argv("runc")...)
	d.keeper = exec.Command(args[0], args[1:]...)
	d.keeper.Stdout, d.keeper.Stderr = d.t.Output(), d.t.Output()
	check(d.t, d.keeper.Start())
	d.awaitServing()
}

// When the keeper is killed, runtimed ends, so that the next keeper's runtimed takes the
// containers over. The exit of a container that ended in between is unknown, and reported
// as such.
func TestKeeperIsKilled(t *testing.T) {
	d := startDaemon(t, "runc")
	long := d.run("long", "exec sleep 1000", nil)
	short := d.run("short", "exec sleep 1000", nil)
	d.killKeeper()
	check(t, syscall.Kill(int(short), syscall.SIGKILL))
	d.awaitGone("the container", int(short))
	d.startKeeper()
	ctx, cancel := d.within()
	defer cancel()
	r, err := d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: "long"})
	check(t, err)
	equal(t, "status", r.Process.Status, task.Status_RUNNING)
	equal(t, "pid", r.Process.Pid, long)
	equal(t, "exit status of a process that ended without a keeper", d.wait("short", ""), 0xFFFFFFFF)
	equal(t, "its reason", d.trailers("short")("engine-lite-exit-unknown"),
		"the process ended while no keeper was its parent")
}

// A runtimed also ends if its keeper dies before runtimed serves. It would have the root's
// lock and learn of no exit.
func TestKeeperIsKilledEarly(t *testing.T) {
	d := startDaemon(t, "runc")
	long := d.run("long", "exec sleep 1000", nil)
	leftover := exec.CommandContext(t.Context(), "/bin/sh", "-c", "read x", "sh", "--root",
		filepath.Join(d.dir, "root", ".oci", testNamespace))
	in, err := leftover.StdinPipe()
	check(t, err)
	check(t, leftover.Start())
	old := d.signalRuntimed(syscall.SIGKILL)
	var next int
	d.await("the next runtimed waits for what looks like an OCI runtime", func() bool {
		next = d.runtimedPid()
		return next != 0 && next != old && hasPidfd(next)
	})
	check(t, d.keeper.Process.Kill())
	d.keeper.Wait() // the error says that it was killed
	check(t, in.Close())
	leftover.Wait() // the shell's read found no line
	d.awaitGone("runtimed", next)
	d.startKeeper()
	ctx, cancel := d.within()
	defer cancel()
	r, err := d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: "long"})
	check(t, err)
	equal(t, "pid", r.Process.Pid, long)
}

// hasPidfd is true if a process has a pidfd of another one.
func hasPidfd(pid int) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	files, _ := os.ReadDir(dir) // the process may be gone
	for _, f := range files {
		if target, err := os.Readlink(filepath.Join(dir, f.Name())); err == nil && strings.Contains(target, "pidfd") {
			return true
		}
	}
	return false
}

// A stdin outlives its keeper if the engine has it, and the next keeper holds it like the
// first one. Then the engine may end.
func TestStdinOutlivesItsKeeper(t *testing.T) {
	d := startDaemon(t, "runc")
	ins := map[string]*fifo.Stdin{}
	for _, id := range []string{"open", "closed"} {
		s := d.open(id, true)
		in, err := s.set.OpenStdin(t.Context())
		check(t, err)
		d.run(id, "cat; exit 4", s)
		ins[id] = in
	}
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.CloseIO(ctx, &tasks.CloseIORequest{ContainerID: "closed", Stdin: true})
	check(t, err)
	d.killKeeper()
	d.startKeeper()
	for _, in := range ins {
		check(t, in.Abort())
	}
	equal(t, "exit status where stdin was closed", d.wait("closed", ""), 4)
	r, err := d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: "open"})
	check(t, err)
	equal(t, "status where it was not", r.Process.Status, task.Status_RUNNING)
	_, err = d.tasks.CloseIO(ctx, &tasks.CloseIORequest{ContainerID: "open", Stdin: true})
	check(t, err)
	equal(t, "exit status after the close", d.wait("open", ""), 4)
}

// After a reboot, with the run directory still there, no recorded process exists, even if
// its pid does.
func TestHostIsBooted(t *testing.T) {
	d := startDaemon(t, "runc")
	long := d.run("long", "exec sleep 1000", nil)
	d.run("ended", "exit 5", nil)
	d.addExec("long", "exec", "exec sleep 1000", nil, false)
	inside := d.start("long", "exec")
	d.record("made", d.spec("made", "exit 6"))
	check(t, d.create("made", nil, false))
	equal(t, "exit status", d.wait("ended", ""), 5)
	d.killKeeper()
	made := d.startOf("made/init").Pid
	for _, pid := range []int{int(long), made} {
		check(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	for _, pid := range []int{int(long), int(inside), made} {
		d.awaitGone("a container", pid)
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/*/" + groupsName + "/" + filepath.Base(d.dir) + "*")
	check(t, err)
	for _, group := range groups {
		d.await("a control group is gone, as with a boot",
			func() bool { return !errors.Is(os.Remove(group), unix.EBUSY) })
	}
	stranger := exec.CommandContext(t.Context(), "sleep", "1000")
	check(t, stranger.Start())
	defer func() {
		check(t, stranger.Process.Kill())
		stranger.Wait() // the error says that it was killed
	}()
	start, err := keeper.StartTime(stranger.Process.Pid)
	check(t, err)
	// a process with the same pid and start time
	for _, file := range []string{"long/init", "made/init", "long/execs/exec"} {
		text := fmt.Sprintf(`{"pid":%d,"start":%d}`, stranger.Process.Pid, start)
		check(t, os.WriteFile(filepath.Join(d.dir, "root", testNamespace, file, "start"), []byte(text), 0o600))
	}
	id := filepath.Join(d.dir, "boot")
	check(t, os.WriteFile(id, []byte("11111111-2222-3333-4444-555555555555\n"), 0o600))
	script := "mount --make-rprivate / && mount --bind " + id + ` /proc/sys/kernel/random/boot_id && exec "$@"`
	d.startKeeper("unshare", "-m", "sh", "-c", script, "sh")

	for _, p := range [][2]string{{"long", ""}, {"long", "exec"}, {"made", ""}} {
		equal(t, "exit status of "+strings.Join(p[:], " "), d.wait(p[0], p[1]), 0xFFFFFFFF)
	}
	equal(t, "exit status from before", d.wait("ended", ""), 5)
	ctx, cancel := d.within()
	defer cancel()
	if _, err := d.tasks.Kill(ctx,
		&tasks.KillRequest{ContainerID: "long", Signal: 9, All: true}); !errdefs.IsNotFound(errgrpc.ToNative(err)) {
		t.Errorf("kill: %v", err)
	}
	// trailers deletes the container
	equal(t, "the reason of the unknown", d.trailers("long")("engine-lite-exit-unknown"), "the host was booted anew")
	d.delete("made")
	d.delete("ended")
	if !alive(stranger.Process.Pid) {
		t.Error("a stranger was killed")
	}
	d.run("new", "exit 3", nil)
	equal(t, "exit status of a new one", d.wait("new", ""), 3)
	d.killRuntimed() // now the boot is the same
	equal(t, "exit status of a new one", d.wait("new", ""), 3)
}

// startOf reads the recorded start time of a process.
func (d *daemon) startOf(process string) (r struct{ Pid int }) {
	d.t.Helper()
	data, err := os.ReadFile(filepath.Join(d.dir, "root", testNamespace, process, "start"))
	check(d.t, err)
	check(d.t, json.Unmarshal(data, &r))
	return r
}

// alive is true if there is a process that isn't a zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
