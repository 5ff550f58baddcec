package runtimed_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// killRuntimed kills runtimed and waits until the next one answers.
func (d *daemon) killRuntimed() {
	d.t.Helper()
	pid := d.signalRuntimed(syscall.SIGKILL)
	d.await("another runtimed runs", func() bool {
		next := d.runtimedPid()
		return next != 0 && next != pid
	})
	d.awaitServing()
}

func TestRuntimedIsKilled(t *testing.T) {
	d := startDaemon(t, "runc")
	d.run("long", "exec sleep 1000", nil)
	d.addExec("long", "e", "while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 8", nil, false)
	d.start("long", "e")
	d.run("paused", "exec sleep 1000", nil)
	d.record("made", d.spec("made", "exit 6"))
	check(t, d.create("made", nil, false))
	s := d.open("seven", true)
	in, err := s.set.OpenStdin(t.Context())
	check(t, err)
	d.run("seven", "echo before; read x; echo after $x; cat; exit 7", s)
	ctx, cancel := d.within()
	defer cancel()
	_, err = d.tasks.Pause(ctx, &tasks.PauseTaskRequest{ContainerID: "paused"})
	check(t, err)

	d.signalRuntimed(syscall.SIGSTOP) // from here on no runtimed answers
	_, err = in.Write([]byte("word\n"))
	check(t, err)
	d.await("the container went on", func() bool { return strings.Contains(s.sofar(), "after word") })
	d.killRuntimed()

	list, err := d.tasks.List(ctx, &tasks.ListTasksRequest{})
	check(t, err)
	got := map[string]task.Status{}
	for _, p := range list.Tasks {
		got[p.ID] = p.Status
	}
	equal(t, "status of made", got["made"], task.Status_CREATED)
	equal(t, "status of long", got["long"], task.Status_RUNNING)
	equal(t, "status of paused", got["paused"], task.Status_PAUSED)
	equal(t, "status of seven", got["seven"], task.Status_RUNNING)

	check(t, in.Close()) // the keeper still holds stdin, so this is no end of file yet
	check(t, in.Release(func() error {
		_, err := d.tasks.CloseIO(ctx, &tasks.CloseIORequest{ContainerID: "seven", Stdin: true})
		return err
	}))
	equal(t, "exit status of seven", d.wait("seven", ""), 7)
	equal(t, "output of seven", s.end(), "before\nafter word\n")
	d.start("made", "")
	equal(t, "exit status of made", d.wait("made", ""), 6)
	d.addExec("long", "go", "echo >/tmp/go", nil, false)
	d.start("long", "go")
	equal(t, "exit status of the exec", d.wait("long", "e"), 8)
	_, err = d.tasks.Resume(ctx, &tasks.ResumeTaskRequest{ContainerID: "paused"})
	check(t, err)
}

// An exit during the absence of runtimed is in the list of the next one at once.
func TestExitWhileRuntimedIsDead(t *testing.T) {
	d := startDaemon(t, "runc")
	d.run("long", "exec sleep 1000", nil)
	s := d.open("seven", true)
	in, err := s.set.OpenStdin(t.Context())
	check(t, err)
	defer in.Abort()
	pid := d.run("seven", "read x; exit 7", s)
	d.signalRuntimed(syscall.SIGSTOP)
	_, err = in.Write([]byte("\n"))
	check(t, err)
	d.await("the container has ended", func() bool {
		_, err := os.Stat("/proc/" + strconv.Itoa(int(pid)))
		return os.IsNotExist(err)
	})
	d.killRuntimed()
	ctx, cancel := d.within()
	defer cancel()
	list, err := d.tasks.List(ctx, &tasks.ListTasksRequest{})
	check(t, err)
	equal(t, "tasks", len(list.Tasks), 2)
	equal(t, "status of long", list.Tasks[0].Status, task.Status_RUNNING)
	equal(t, "status of seven", list.Tasks[1].Status, task.Status_STOPPED)
	equal(t, "exit status of seven", list.Tasks[1].ExitStatus, 7)
	equal(t, "exit status by wait", d.wait("seven", ""), 7)
	d.killRuntimed() // now the exit comes from the record
	equal(t, "exit status from the record", d.wait("seven", ""), 7)
}

func TestTerminalSurvives(t *testing.T) {
	d := startDaemon(t, "runc")
	s := d.open("c", true)
	in, err := s.set.OpenStdin(t.Context())
	check(t, err)
	defer in.Abort()
	spec := d.spec("c", "stty -echo; echo ready; read x; stty size; echo got $x; exit 3")
	spec.Process.Terminal = true
	d.record("c", spec)
	check(t, d.create("c", s, true))
	d.start("c", "")
	d.await("the container is ready", func() bool { return strings.Contains(s.sofar(), "ready") })
	d.killRuntimed()
	ctx, cancel := d.within()
	defer cancel()
	_, err = d.tasks.ResizePty(ctx, &tasks.ResizePtyRequest{ContainerID: "c", Width: 90, Height: 30})
	check(t, err)
	_, err = in.Write([]byte("word\n"))
	check(t, err)
	equal(t, "exit status", d.wait("c", ""), 3)
	equal(t, "output", s.end(), "ready\r\n30 90\r\ngot word\r\n")
}

// A create that was interrupted by a crash leaves nothing.
func TestCreateCutShort(t *testing.T) {
	d := startDaemon(t, "runc")
	d.record("c", d.spec("c", "exit 0"))
	check(t, d.create("c", nil, false))
	dir := filepath.Join(d.dir, "root", testNamespace, "c")
	d.signalRuntimed(syscall.SIGSTOP)
	check(t, os.Remove(filepath.Join(dir, "init", "start"))) // as if runtimed had been killed before it wrote the file
	d.killRuntimed()
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	check(t, err)
	equal(t, "files", strings.Join(left, " "), filepath.Join(dir, "container.pb"))
	check(t, d.create("c", nil, false))
}

// A start that was interrupted by a crash goes on: runc's init process is stopped where it waits for a reader, and
// runtimed is killed when it reads.
func TestStartCutShort(t *testing.T) {
	d := startDaemon(t, "runc")
	s := d.open("c", false)
	d.record("c", d.spec("c", "echo started; exec sleep 1000"))
	check(t, d.create("c", s, false))
	init := d.startOf("c/init").Pid
	check(t, syscall.Kill(init, syscall.SIGSTOP))
	ended := make(chan error, 1)
	go func() {
		_, err := d.tasks.Start(d.ctx(), &tasks.StartRequest{ContainerID: "c"})
		ended <- err
	}()
	d.await("runtimed reads", func() bool {
		return slices.ContainsFunc(d.descriptors(), func(link string) bool { return strings.HasSuffix(link, "/c/exec.fifo") })
	})
	d.signalRuntimed(syscall.SIGKILL)
	if err := <-ended; err == nil {
		t.Error("the start was answered")
	}
	check(t, syscall.Kill(init, syscall.SIGCONT))
	d.awaitServing()
	d.await("the container went on", func() bool { return strings.Contains(s.sofar(), "started") })
	equal(t, "status", d.state("c").Status, task.Status_RUNNING)
	d.killRuntimed() // now the status comes from the record
	equal(t, "status", d.state("c").Status, task.Status_RUNNING)
	equal(t, "output", s.sofar(), "started\n")
}

// The same holds for a delete.
func TestDeleteCutShort(t *testing.T) {
	d := startDaemon(t, "runc")
	d.record("c", d.spec("c", "exit 0"))
	dir := filepath.Join(d.dir, "root", testNamespace, "c")
	d.signalRuntimed(syscall.SIGSTOP)
	check(t, os.Mkdir(filepath.Join(dir, "rest"), 0o700))
	// as if runtimed had been killed while it removed the directory
	check(t, os.Remove(filepath.Join(dir, "container.pb")))
	d.killRuntimed()
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the rest is still there: %v", err)
	}
	d.record("c", d.spec("c", "exit 0"))
}

func TestSecondRuntimedIsRefused(t *testing.T) {
	d := startDaemon(t, "runc")
	argv := d.argv("runc")
	out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("another runtimed serves")) {
		t.Fatalf("second runtimed: %v\n%s", err, out)
	}
	d.awaitServing()
}

func TestTermination(t *testing.T) {
	d := startDaemon(t, "runc")
	pid := d.run("c", "exec sleep 1000", nil)
	old := d.signalRuntimed(syscall.SIGTERM)
	d.await("another runtimed runs", func() bool {
		next := d.runtimedPid()
		return next != 0 && next != old
	})
	d.awaitServing()
	ctx, cancel := d.within()
	defer cancel()
	r, err := d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: "c"})
	check(t, err)
	equal(t, "pid", r.Process.Pid, pid)
	equal(t, "status", r.Process.Status, task.Status_RUNNING)
}

// A container in the host's pid namespace does not end its processes by itself. runtimed
// kills them.
func TestHostPidNamespace(t *testing.T) {
	d := startDaemon(t, "runc")
	s := d.open("c", false)
	spec := d.spec("c", "sleep 1000 & echo $!; exit 2")
	spec.Linux.Namespaces = spec.Linux.Namespaces[1:]
	spec.Mounts[0] = specs.Mount{Destination: "/proc", Type: "bind", Source: "/proc", Options: []string{"rbind"}}
	d.record("c", spec)
	check(t, d.create("c", s, false))
	d.start("c", "")
	equal(t, "exit status", d.wait("c", ""), 2)
	pid := strings.TrimSpace(s.end())
	d.await("the process left behind is gone", func() bool {
		_, err := os.Stat("/proc/" + pid)
		return os.IsNotExist(err)
	})
	d.delete("c")
}
