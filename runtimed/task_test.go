package runtimed_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/cgroups/v3/cgroup1/stats"
	"github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/services/containers/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

func TestExitStatus(t *testing.T) {
	d := startDaemon(t, "runc")
	for _, c := range []struct {
		id, script string
		want       uint32
	}{
		{"zero", "exit 0", 0},
		{"seven", "echo hello; exit 7", 7},
		{"big", "exit 255", 255},
	} {
		t.Run(c.id, func(t *testing.T) {
			s := d.open(c.id, false)
			d.run(c.id, c.script, s)
			equal(t, "exit status", d.wait(c.id, ""), c.want)
			if c.id == "seven" {
				equal(t, "output", s.end(), "hello\n")
			}
			ctx, cancel := d.within()
			defer cancel()
			r, err := d.tasks.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: c.id})
			check(t, err)
			equal(t, "status of delete", r.ExitStatus, c.want)
		})
	}
}

func TestKillRunning(t *testing.T) {
	d := startDaemon(t, "runc")
	pid := d.run("c", "exec sleep 1000", nil)
	ctx, cancel := d.within()
	defer cancel()
	r, err := d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: "c"})
	check(t, err)
	equal(t, "status", r.Process.Status, task.Status_RUNNING)
	equal(t, "pid", r.Process.Pid, pid)
	_, err = d.tasks.Kill(ctx, &tasks.KillRequest{ContainerID: "c", Signal: 9})
	check(t, err)
	equal(t, "exit status", d.wait("c", ""), 137)
}

func TestStdinAndCloseIO(t *testing.T) {
	d := startDaemon(t, "runc")
	s := d.open("c", true)
	in, err := s.set.OpenStdin(t.Context())
	check(t, err)
	d.run("c", "cat; echo end", s)
	_, err = in.Write([]byte("a line\n"))
	check(t, err)
	d.await("the line comes back", func() bool { return strings.Contains(s.sofar(), "a line\n") })
	ctx, cancel := d.within()
	defer cancel()
	check(t, in.Close())
	check(t, in.Release(func() error {
		_, err := d.tasks.CloseIO(ctx, &tasks.CloseIORequest{ContainerID: "c", Stdin: true})
		return err
	}))
	equal(t, "exit status", d.wait("c", ""), 0)
	equal(t, "output", s.end(), "a line\nend\n")
}

// addExec registers a process that runs a script.
func (d *daemon) addExec(id, exec, script string, s *streams, terminal bool) {
	d.t.Helper()
	ctx, cancel := d.within()
	defer cancel()
	spec := &specs.Process{Args: []string{"/bin/sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin"},
		Terminal: terminal}
	r := &tasks.ExecProcessRequest{ContainerID: id, ExecID: exec, Spec: pack(d.t, spec), Terminal: terminal}
	if s != nil {
		r.Stdin, r.Stdout = s.set.Paths().Stdin, s.set.Paths().Stdout
	}
	_, err := d.tasks.Exec(ctx, r)
	check(d.t, err)
}

func TestExec(t *testing.T) {
	d := startDaemon(t, "runc")
	d.run("c", "exec sleep 1000", nil)
	ctx, cancel := d.within()
	defer cancel()
	s := d.open("e", false)
	d.addExec("c", "e", "echo out; exit 9", s, false)
	d.start("c", "e")
	equal(t, "exit status", d.wait("c", "e"), 9)
	equal(t, "output", s.end(), "out\n")
	r, err := d.tasks.DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: "c", ExecID: "e"})
	check(t, err)
	equal(t, "status of delete", r.ExitStatus, 9)

	d.addExec("c", "long", "exec sleep 1000", nil, false)
	pid := d.start("c", "long")
	list, err := d.tasks.ListPids(ctx, &tasks.ListPidsRequest{ContainerID: "c"})
	check(t, err)
	equal(t, "processes", len(list.Processes), 2)
	_, err = d.tasks.DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: "c", ExecID: "long"})
	equal(t, "deleting a running exec is refused", errdefs.IsFailedPrecondition(errgrpc.ToNative(err)), true)
	_, err = d.tasks.Kill(ctx, &tasks.KillRequest{ContainerID: "c", ExecID: "long", Signal: 15})
	check(t, err)
	equal(t, "exit status", d.wait("c", "long"), 143)
	equal(t, "the pid was a real one", pid > 1, true)

	d.addExec("c", "none", "x", nil, false)
	_, err = d.tasks.DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: "c", ExecID: "none"})
	check(t, err)
}

func TestExecWithoutProgram(t *testing.T) {
	d := startDaemon(t, "runc")
	d.run("c", "exec sleep 1000", nil)
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.Exec(ctx, &tasks.ExecProcessRequest{ContainerID: "c", ExecID: "e",
		Spec: pack(t, specs.Process{Args: []string{"/bin/nope"}, Cwd: "/"})})
	check(t, err)
	_, err = d.tasks.Start(ctx, &tasks.StartRequest{ContainerID: "c", ExecID: "e"})
	if err == nil || !strings.Contains(err.Error(), "/bin/nope") {
		t.Fatalf("the runtime's message is missing: %v", err)
	}
	_, err = d.tasks.DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: "c", ExecID: "e"})
	check(t, err)
}

func TestTerminal(t *testing.T) {
	d := startDaemon(t, "runc")
	s := d.open("c", true)
	in, err := s.set.OpenStdin(t.Context())
	check(t, err)
	defer in.Abort()
	spec := d.spec("c", "read x; stty size; echo got $x")
	spec.Process.Terminal = true
	d.record("c", spec)
	check(t, d.create("c", s, true))
	ctx, cancel := d.within()
	defer cancel()
	_, err = d.tasks.ResizePty(ctx, &tasks.ResizePtyRequest{ContainerID: "c", Width: 91, Height: 37})
	check(t, err)
	d.start("c", "")
	_, err = in.Write([]byte("word\n"))
	check(t, err)
	equal(t, "exit status", d.wait("c", ""), 0)
	equal(t, "output", s.end(), "word\r\n37 91\r\ngot word\r\n")
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	d := startDaemon(t, "runc")
	s := d.open("c", true)
	spec := d.spec("c", "")
	spec.Process.Args = []string{"/bin/nope"}
	spec.Root.Path = "rootfs"
	d.record("c", spec)
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.Create(ctx, &tasks.CreateTaskRequest{
		ContainerID: "c", Stdin: s.set.Paths().Stdin, Stdout: s.set.Paths().Stdout,
		Rootfs: []*types.Mount{{Type: "bind", Source: rootfs, Options: []string{"rbind", "ro"}}},
	})
	if err == nil || !strings.Contains(err.Error(), "/bin/nope") {
		t.Fatalf("the runtime's message is missing: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(d.dir, "root", testNamespace, "c", "*"))
	check(t, err)
	equal(t, "files", strings.Join(left, " "), filepath.Join(d.dir, "root", testNamespace, "c", "container.pb"))
	_, err = d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: "c"})
	equal(t, "no task", errdefs.IsNotFound(errgrpc.ToNative(err)), true)
	runcState, err := os.ReadDir(filepath.Join(d.dir, "root", ".oci", testNamespace))
	check(t, err)
	equal(t, "the runtime's containers", len(runcState), 0)
}

func TestRootfsMounts(t *testing.T) {
	d := startDaemon(t, "runc")
	spec := d.spec("c", "exit 3")
	spec.Root.Path = "rootfs"
	d.record("c", spec)
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.Create(ctx, &tasks.CreateTaskRequest{
		ContainerID: "c", Rootfs: []*types.Mount{{Type: "bind", Source: rootfs, Options: []string{"rbind", "ro"}}},
	})
	check(t, err)
	d.start("c", "")
	equal(t, "exit status", d.wait("c", ""), 3)
	d.delete("c")
}

// A created task that was never started can be deleted, and its exit has an event.
func TestDeleteCreated(t *testing.T) {
	d := startDaemon(t, "runc")
	d.record("c", d.spec("c", "exit 0"))
	check(t, d.create("c", nil, false))
	ctx, cancel := d.within()
	defer cancel()
	r, err := d.tasks.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: "c"})
	check(t, err)
	equal(t, "exit status", r.ExitStatus, 137)
	check(t, d.create("c", nil, false))
	d.start("c", "")
	equal(t, "exit status of the second", d.wait("c", ""), 0)
}

func TestPauseMetricsUpdate(t *testing.T) {
	d := startDaemon(t, "runc")
	d.run("c", "exec sleep 1000", nil)
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.Pause(ctx, &tasks.PauseTaskRequest{ContainerID: "c"})
	check(t, err)
	r, err := d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: "c"})
	check(t, err)
	equal(t, "status", r.Process.Status, task.Status_PAUSED)
	_, err = d.tasks.Pause(ctx, &tasks.PauseTaskRequest{ContainerID: "c"})
	equal(t, "pausing twice is refused", errdefs.IsFailedPrecondition(errgrpc.ToNative(err)), true)
	_, err = d.tasks.Resume(ctx, &tasks.ResumeTaskRequest{ContainerID: "c"})
	check(t, err)
	limit := int64(64 << 20)
	_, err = d.tasks.Update(ctx, &tasks.UpdateTaskRequest{ContainerID: "c",
		Resources: pack(t, specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}})})
	check(t, err)
	m, err := d.tasks.Metrics(ctx, &tasks.MetricsRequest{Filters: []string{"id==c"}})
	check(t, err)
	equal(t, "metrics", len(m.Metrics), 1)
	v, err := typeurl.UnmarshalAny(m.Metrics[0].Data)
	check(t, err)
	if v1, ok := v.(*stats.Metrics); ok {
		equal(t, "memory limit", v1.Memory.Usage.Limit, uint64(limit))
	}
}

func TestOOM(t *testing.T) {
	d := startDaemon(t, "runc")
	next := d.subscribe(`topic=="/tasks/oom"`, `topic=="/tasks/exit"`)
	spec := d.spec("c", "tail /dev/zero")
	limit := int64(16 << 20)
	spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
	spec.Mounts = append(spec.Mounts,
		specs.Mount{Destination: "/dev/zero", Type: "bind", Source: "/dev/zero", Options: []string{"bind"}})
	d.record("c", spec)
	check(t, d.create("c", nil, false))
	d.start("c", "")
	equal(t, "exit status", d.wait("c", ""), 137)
	equal(t, "first event", next().Topic, "/tasks/oom")
	equal(t, "second event", next().Topic, "/tasks/exit")
	d.run("well", "exit 3", nil)
	equal(t, "exit status", d.wait("well", ""), 3)
	for id, want := range map[string]string{"c": "true", "well": "false"} {
		trailer := d.trailers(id)
		equal(t, "out of memory, container "+id, trailer("engine-lite-oom-killed"), want)
		equal(t, "why unknown, container "+id, trailer("engine-lite-exit-unknown"), "")
	}
}

// trailers asks for the exit of a container that has ended, by each call, and deletes the
// container. It returns what the trailer of each answer says, which must be the same.
func (d *daemon) trailers(id string) func(key string) string {
	d.t.Helper()
	ctx, cancel := d.within()
	defer cancel()
	var wait, get, del metadata.MD
	_, err := d.tasks.Wait(ctx, &tasks.WaitRequest{ContainerID: id}, grpc.Trailer(&wait))
	check(d.t, err)
	_, err = d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: id}, grpc.Trailer(&get))
	check(d.t, err)
	_, err = d.tasks.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id}, grpc.Trailer(&del))
	check(d.t, err)
	return func(key string) string {
		d.t.Helper()
		said := strings.Join(wait.Get(key), ",")
		equal(d.t, key+" of Get", strings.Join(get.Get(key), ","), said)
		equal(d.t, key+" of Delete", strings.Join(del.Get(key), ","), said)
		return said
	}
}

func TestEventOrder(t *testing.T) {
	d := startDaemon(t, "runc")
	next := d.subscribe(`topic~=|^/tasks/|`)
	d.record("c", d.spec("c", "exit 7"))
	for range 5 {
		check(t, d.create("c", nil, false))
		d.start("c", "")
		equal(t, "exit status", d.wait("c", ""), 7)
		d.delete("c")
		for _, want := range []string{"/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"} {
			e := next()
			equal(t, "topic", e.Topic, want)
			equal(t, "namespace", e.Namespace, testNamespace)
			v, err := typeurl.UnmarshalAny(e.Event)
			check(t, err)
			if exit, ok := v.(*events.TaskExit); ok {
				equal(t, "status in the event", exit.ExitStatus, 7)
				equal(t, "process in the event", exit.ID, "c")
			}
		}
	}
}

func TestFiftyAtOnce(t *testing.T) {
	d := startDaemon(t, "runc")
	var work sync.WaitGroup
	for i := range 50 {
		id := "c" + strings.Repeat("x", i)
		work.Go(func() {
			ctx, cancel := d.within()
			defer cancel()
			spec := pack(t, d.spec(id, "exit 5"))
			_, err := d.containers.Create(ctx,
				&containers.CreateContainerRequest{Container: &containers.Container{ID: id, Spec: spec}})
			if err == nil {
				_, err = d.tasks.Create(ctx, &tasks.CreateTaskRequest{ContainerID: id})
			}
			if err == nil {
				_, err = d.tasks.Start(ctx, &tasks.StartRequest{ContainerID: id})
			}
			if err != nil {
				t.Errorf("container %s: %v", id, err)
				return
			}
			r, err := d.tasks.Wait(ctx, &tasks.WaitRequest{ContainerID: id})
			if err != nil || r.ExitStatus != 5 {
				t.Errorf("container %s: %v %v", id, r, err)
			}
		})
	}
	work.Wait()
}

// crun refuses control groups of version 2 beside version 1, so it runs in a mount
// namespace without version 2.
func TestCrun(t *testing.T) {
	d := startDaemon(t, "", withoutUnified...)
	log, err := os.ReadFile(filepath.Join(d.dir, "log"))
	check(t, err)
	equal(t, "crun was chosen", strings.Contains(string(log), "crun runs on this host"), true)
	s := d.open("c", false)
	d.run("c", "echo from crun; exit 7", s)
	equal(t, "exit status", d.wait("c", ""), 7)
	equal(t, "output", s.end(), "from crun\n")
	d.run("long", "exec sleep 1000", nil)
	d.addExec("long", "e", "exit 4", nil, false)
	d.start("long", "e")
	equal(t, "exit status of the exec", d.wait("long", "e"), 4)
	tty := d.open("tty", false)
	spec := d.spec("tty", "[ -t 0 ] && echo a terminal")
	spec.Process.Terminal = true
	d.record("tty", spec)
	check(t, d.create("tty", tty, true))
	d.start("tty", "")
	equal(t, "exit status on a terminal", d.wait("tty", ""), 0)
	equal(t, "output on a terminal", tty.end(), "a terminal\r\n")
	bad := d.spec("bad", "")
	bad.Process.Args = []string{"/bin/nope"}
	d.record("bad", bad)
	if err := d.create("bad", nil, false); err == nil || !strings.Contains(err.Error(), "/bin/nope") {
		t.Fatalf("crun's message is missing: %v", err)
	}
}
