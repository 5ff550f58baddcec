package runtimed_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/containers/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// standIn writes a fake OCI runtime: runc, except for one command, for which it runs a
// script with $pidfile, $log and "$@" (the arguments for runc). It returns its path.
func (d *daemon) fakeRuntime(name, command, script string) string {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	text := fmt.Sprintf(`#!/bin/sh
command= pidfile= log= before=
for arg in "$@"; do
	case $before in --pid-file) pidfile=$arg;; --log) log=$arg;; esac
	case $arg in create|start|exec|state|delete|pause|kill|update|features) command=${command:-$arg};; esac
	before=$arg
done
if [ "$command" = %s ]; then
%s
fi
exec runc "$@"
`, command, script)
	check(d.t, os.WriteFile(path+".new", []byte(text), 0o755))
	check(d.t, os.Rename(path+".new", path)) // renamed, since the old one may be running
	return path
}

func (d *daemon) createWith(runtime, id string) error {
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.Create(ctx, &tasks.CreateTaskRequest{ContainerID: id, RuntimePath: runtime})
	return err
}

// If an OCI runtime fails to create a container, in any way, the caller gets an error that
// says so, nothing is left, and other containers are not affected.
func TestBrokenCreate(t *testing.T) {
	t.Parallel() // it waits for time limits most of the time
	d := startDaemon(t, "runc")
	other := d.run("other", "exec sleep 1000", nil)
	keeper, err := os.ReadFile(filepath.Join(d.dir, "keeper", "keeper.pid"))
	check(t, err)
	before := d.traces()
	open := len(d.descriptors())
	afterwards := func(text string) string { return `runc "$@"; printf %s '` + text + `' >$pidfile; exit 0` }
	for _, c := range []struct{ name, script, says string }{
		{"garbage", "head -c 100000 /dev/urandom; head -c 100000 /dev/urandom >&2; head -c 100000 /dev/urandom >$log; exit 3", "exit status 3"},
		{"a long log", `head -c 3000000 /dev/zero | tr '\0' '\n' >$log; echo '{"level":"error","msg":"the last words"}' >>$log; exit 1`, "the last words"},
		{"a long line", `printf '{"level":"error","msg":"' >$log; head -c 100000 /dev/zero | tr '\0' x >>$log; echo '"}' >>$log; exit 1`, "xxx ..."},
		{"a log that is a directory", `mkdir $log; exit 1`, "exit status 1"},
		{"a signal", "kill -9 $$", "exit status 137"},
		{"a failure after all was done", `runc "$@"; exit 1`, "exit status 1"},
		{"nothing done", "exit 0", "no process id"},
		{"no pid", afterwards(""), "is not a process id"},
		{"garbage as pid", afterwards("12x"), "is not a process id"},
		{"pid 0", afterwards("0"), "is not a process id"},
		{"negative pid", afterwards("-1"), "is not a process id"},
		{"huge pid", afterwards("99999999999999999999"), "is not a process id"},
		{"pid of nobody", afterwards("4194303"), "there is none"},
		{"pid of init", afterwards("1"), "not the keeper's child"},
		{"pid of the keeper", afterwards(strings.TrimSpace(string(keeper))), "not the keeper's child"},
		{"pid of runtimed", afterwards(strconv.Itoa(d.runtimedPid())), "older"},
		{"pid of another container", afterwards(strconv.Itoa(int(other))), "older"},
		{"pid of the runtime itself", `runc "$@"; echo $$ >$pidfile; exit 0`, "there is none"},
		{"pid file that is a directory", `mkdir $pidfile; exit 0`, "no process id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d.record("c", d.spec("c", "exec sleep 1000"))
			err := d.createWith(d.fakeRuntime("broken", "create", c.script), "c")
			if code := status.Code(err); code != codes.Unknown && code != codes.DataLoss {
				t.Fatalf("code %v: %v", code, err)
			}
			equal(t, "what "+err.Error()+" says", strings.Contains(err.Error(), c.says), true)
			equal(t, "length of the error is bounded", len(err.Error()) < 5000, true)
			ctx, cancel := d.within()
			defer cancel()
			_, err = d.containers.Delete(ctx, &containers.DeleteContainerRequest{ID: "c"})
			check(t, err)
			check(t, os.Remove(filepath.Join(d.dir, "broken")))
			equal(t, "what is there", d.traces(), before)
		})
	}
	ctx, cancel := d.within()
	defer cancel()
	r, err := d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: "other"})
	check(t, err)
	equal(t, "status of the other container", r.Process.Status, task.Status_RUNNING)
	d.await("all descriptors are closed", func() bool { return len(d.descriptors()) <= open })
}

// A runtime that hangs when a new runtimed asks for a state delays the others only for a
// limited time.
func TestHangingState(t *testing.T) {
	t.Parallel() // it waits for time limits most of the time
	d := startDaemon(t, "runc")
	d.record("c", d.spec("c", "exit 5"))
	check(t, d.createWith(d.fakeRuntime("mute", "state", "sleep 1000"), "c"))
	d.run("other", "exec sleep 1000", nil)
	d.killRuntimed()
	d.start("c", "")
	equal(t, "exit status", d.wait("c", ""), 5)
}

func (d *daemon) pids(id string) []*task.ProcessInfo {
	d.t.Helper()
	ctx, cancel := d.within()
	defer cancel()
	r, err := d.tasks.ListPids(ctx, &tasks.ListPidsRequest{ContainerID: id})
	check(d.t, err)
	return r.Processes
}

// If an OCI runtime fails to run an exec, in any way, the container runs on, and others
// are not affected.
func TestBrokenExec(t *testing.T) {
	d := startDaemon(t, "runc")
	other := d.run("other", "exec sleep 1000", nil)
	runtime := d.fakeRuntime("broken", "none", ":")
	d.record("c", d.spec("c", "exec sleep 1000"))
	check(t, d.createWith(runtime, "c"))
	init := d.start("c", "")
	afterwards := func(pid uint32) string { return fmt.Sprintf(`runc "$@"; printf %d >$pidfile; exit 0`, pid) }
	for i, c := range []struct{ script, says string }{
		{`runc "$@"; exit 1`, "exit status 1"},
		{`runc "$@"; kill -9 $$`, "exit status 137"},
		{"exit 0", "no process id"},
		{"head -c 100000 /dev/urandom; exit 0", "no process id"},
		{afterwards(0), "is not a process id"},
		{afterwards(1), "not the keeper's child"},
		{afterwards(init), "older"},
		{afterwards(other), "older"},
		{fmt.Sprintf(`printf %d >$pidfile; exit 1`, init), "exit status 1"},
		{fmt.Sprintf(`printf %d >$pidfile; exit 1`, other), "exit status 1"},
	} {
		d.fakeRuntime("broken", "exec", c.script)
		exec := fmt.Sprint("e", i)
		d.addExec("c", exec, "exec sleep 1000", nil, false)
		before := len(d.pids("c"))
		ctx, cancel := d.within()
		_, err := d.tasks.Start(ctx, &tasks.StartRequest{ContainerID: "c", ExecID: exec})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.script, err)
		}
		if strings.HasSuffix(c.says, "1") || strings.HasSuffix(c.says, "137") {
			d.await("the process is gone", func() bool { return len(d.pids("c")) == before })
		}
		_, err = d.tasks.DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: "c", ExecID: exec})
		check(t, err)
		cancel()
	}
	d.fakeRuntime("broken", "none", ":")
	for _, id := range []string{"c", "other"} {
		d.addExec(id, "well", "exit 8", nil, false)
		d.start(id, "well")
		equal(t, "exit status of an exec in "+id, d.wait(id, "well"), 8)
	}
}

// A runtime that fails with every command, even delete, leaves a record that can be
// deleted.
func TestBrokenForAll(t *testing.T) {
	d := startDaemon(t, "runc")
	path := filepath.Join(d.dir, "broken")
	check(t, os.WriteFile(path, []byte("#!/bin/sh\nexit 1\n"), 0o755))
	d.record("c", d.spec("c", "exit 0"))
	equal(t, "code", status.Code(d.createWith(path, "c")), codes.Unknown)
	check(t, os.WriteFile(path, []byte("this is no program\n"), 0o755))
	equal(t, "code of what can't be run", status.Code(d.createWith(path, "c")), codes.Unknown)
	left, err := filepath.Glob(filepath.Join(d.dir, "root", testNamespace, "c", "*"))
	check(t, err)
	equal(t, "files", strings.Join(left, " "), filepath.Join(d.dir, "root", testNamespace, "c", "container.pb"))
}

// The output of a runtime at a start, however much, takes limited memory in the daemon.
func TestLoudStart(t *testing.T) {
	d := startDaemon(t, "runc")
	d.record("c", d.spec("c", "exit 0"))
	check(t, d.createWith(d.fakeRuntime("loud", "start", "head -c 100000000 /dev/zero; exit 1"), "c"))
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.Start(ctx, &tasks.StartRequest{ContainerID: "c"})
	equal(t, "code", status.Code(err), codes.Unknown)
	equal(t, "length of the error is bounded", len(err.Error()) < 5000, true)
	peak := d.peakMemory()
	if raceFlags == nil && peak > 160<<10 {
		t.Errorf("runtimed took %d KB", peak)
	}
}

// peakMemory is the maximum of runtimed's resident memory, in KB (proc(5),
// /proc/PID/status, VmHWM).
func (d *daemon) peakMemory() int {
	d.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.runtimedPid()))
	check(d.t, err)
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	check(d.t, err)
	return kb
}

// A delete that comes while the task is being made waits for the task: "not found" would be true for a moment only.
func TestDeleteDuringCreate(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "runc")
	d.record("c", d.spec("c", "exec sleep 1000"))
	creating := filepath.Join(d.dir, "creating")
	slow := d.fakeRuntime("slow", "create", `touch `+creating+`; sleep 1`)
	created := make(chan error, 1)
	go func() { created <- d.createWith(slow, "c") }()
	for _, err := os.Stat(creating); err != nil; _, err = os.Stat(creating) {
		if t.Context().Err() != nil {
			t.Fatal("no create begins")
		}
		<-time.After(5 * time.Millisecond)
	}
	d.delete("c")
	check(t, <-created)
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: "c"})
	equal(t, "a second delete", status.Code(err), codes.NotFound)
}

// A poststart hook or a shim may leave a process that keeps the runtime's output open.
// That process runs on, and no call waits for it.
func TestRuntimeLeavesAProcess(t *testing.T) {
	d := startDaemon(t, "runc")
	d.record("c", d.spec("c", "exec sleep 1000"))
	check(t, d.createWith(d.fakeRuntime("orphan", "start", `setsid sleep 1000 & echo $! >`+d.dir+`/orphan.pid`), "c"))
	d.start("c", "")
	ctx, cancel := d.within()
	defer cancel()
	r, err := d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: "c"})
	check(t, err)
	equal(t, "status", r.Process.Status, task.Status_RUNNING)
	text, err := os.ReadFile(filepath.Join(d.dir, "orphan.pid"))
	check(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	check(t, err)
	p, err := os.FindProcess(pid)
	check(t, err)
	check(t, p.Kill())
}

// A caller can give up a runtime that hangs at once. The daemon gives it up after a limit,
// and undoes what it was doing. Meanwhile the container can be inspected and killed, and
// others are not affected.
func TestHangingRuntime(t *testing.T) {
	t.Parallel() // it waits for time limits most of the time
	d := startDaemon(t, "runc")
	const hang = "sleep 1000; sleep 1000"
	hangs := map[string]string{"create": hang, "start": hang, "begun": hang, "exec": hang, "ran": hang, "delete": hang}
	for id := range hangs {
		command, script := id, hang
		if id == "begun" {
			command, script = "start", `runc "$@"; `+hang
		}
		if id == "ran" {
			command, script = "exec", `runc "$@"; `+hang
		}
		d.record(id, d.spec(id, "exec sleep 1000"))
		runtime := d.fakeRuntime("hang-"+id, command, script)
		if id != "create" {
			check(t, d.createWith(runtime, id))
		}
		if id == "exec" || id == "delete" || id == "ran" {
			d.start(id, "")
		}
	}
	d.addExec("ran", "e", "exec sleep 1000", nil, false)
	d.addExec("exec", "e", "exit 0", nil, false)
	_, err := d.tasks.Kill(d.ctx(), &tasks.KillRequest{ContainerID: "delete", Signal: 9})
	check(t, err)
	equal(t, "exit status", d.wait("delete", ""), 137)
	var work sync.WaitGroup
	for id, call := range map[string]func(context.Context) error{
		"create": func(ctx context.Context) error {
			_, err := d.tasks.Create(ctx,
				&tasks.CreateTaskRequest{ContainerID: "create", RuntimePath: filepath.Join(d.dir, "hang-create")})
			return err
		},
		"start": func(ctx context.Context) error {
			_, err := d.tasks.Start(ctx, &tasks.StartRequest{ContainerID: "start"})
			return err
		},
		"begun": func(ctx context.Context) error {
			_, err := d.tasks.Start(ctx, &tasks.StartRequest{ContainerID: "begun"})
			return err
		},
		"exec": func(ctx context.Context) error {
			_, err := d.tasks.Start(ctx, &tasks.StartRequest{ContainerID: "exec", ExecID: "e"})
			return err
		},
		"ran": func(ctx context.Context) error {
			_, err := d.tasks.Start(ctx, &tasks.StartRequest{ContainerID: "ran", ExecID: "e"})
			return err
		},
		"delete": func(ctx context.Context) error {
			_, err := d.tasks.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: "delete"})
			return err
		},
	} {
		work.Go(func() {
			ctx, cancel := context.WithTimeout(d.ctx(), time.Second)
			defer cancel()
			if code := status.Code(call(ctx)); code != codes.DeadlineExceeded {
				t.Errorf("%s: %v", id, code)
			}
		})
	}
	work.Wait()
	d.run("other", "exit 3", nil)
	equal(t, "exit status of another", d.wait("other", ""), 3)
	ctx, cancel := d.within()
	defer cancel()
	list, err := d.tasks.List(ctx, &tasks.ListTasksRequest{})
	check(t, err)
	equal(t, "tasks in the list", len(list.Tasks), 6)
	_, err = d.tasks.Kill(ctx, &tasks.KillRequest{ContainerID: "exec", Signal: 9})
	check(t, err)
	d.await("the hanging ones are given up", func() bool {
		lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
		check(t, err)
		for _, line := range lines {
			if text, err := os.ReadFile(line); err == nil && strings.Contains(string(text), d.dir+"/hang-") {
				return false
			}
		}
		return true
	})
	d.fakeRuntime("hang-delete", "none", ":")
	d.delete("delete")
	equal(t, "exit status of one that was killed meanwhile", d.wait("exec", ""), 137)
	d.await("an exec that was given up has ended", func() bool { return len(d.pids("ran")) == 1 })
	d.await("a start that had begun is one", func() bool {
		r, err := d.tasks.Get(d.ctx(), &tasks.GetRequest{ContainerID: "begun"})
		check(t, err)
		return r.Process.Status == task.Status_RUNNING
	})
	d.fakeRuntime("hang-start", "none", ":")
	d.start("start", "") // after the first one is undone
	d.await("a create that was given up has left nothing", func() bool {
		left, err := filepath.Glob(filepath.Join(d.dir, "root", testNamespace, "create", "*"))
		check(t, err)
		return len(left) == 1
	})
}
