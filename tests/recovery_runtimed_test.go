package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
	"github.com/engine-lite/engine-lite/remote"
)

// engine has a client of the client layer, as an engine has one.
type engine struct {
	*testing.T
	ctx      context.Context
	daemon   libcontainerd.Daemon
	streams  string
	recorder *libcontainerdtest.Recorder
	client   *libcontainerd.Client
	stop     func()
}

// newEngine runs a client until the end of the test, and then deletes its containers.
func newEngine(t *testing.T, daemon libcontainerd.Daemon) *engine {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // for what hangs: some tests do much
	t.Cleanup(cancel)
	e := &engine{T: t, ctx: ctx, daemon: daemon, streams: t.TempDir(), recorder: &libcontainerdtest.Recorder{}}
	e.prepare()
	e.run()
	t.Cleanup(e.finish)
	return e
}

func (e *engine) prepare() {
	e.Helper()
	client, err := libcontainerdtest.NewClient(e.daemon, libcontainerd.FIFO(e.streams), e.recorder)
	e.must(err)
	e.client = client
}

func (e *engine) run() {
	stop := libcontainerdtest.RunClient(e.client)
	e.stop = func() {
		if err := stop(); err != nil {
			e.Error(err)
		}
	}
}

func (e *engine) finish() {
	for _, ctr := range e.client.List() {
		if err := ctr.Delete(e.ctx, libcontainerd.DeleteOptions{Force: true}); err != nil {
			e.Error(err)
		}
	}
	e.stop()
	e.recorder.Join()
	if err := e.recorder.Check(); err != nil {
		e.Error(err)
	}
}

func (e *engine) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// start makes a container and starts it.
func (e *engine) start(id string, spec *specs.Spec, cfg libcontainerd.StdioConfig) *libcontainerd.Container {
	e.Helper()
	ctr, err := e.client.Create(e.ctx, id, spec, libcontainerd.CreateOptions{})
	e.must(err)
	_, err = ctr.Start(e.ctx, libcontainerd.StartOptions{Stdio: cfg})
	e.must(err)
	return ctr
}

func (e *engine) wait(ctr *libcontainerd.Container, process string) libcontainerd.Exit {
	e.Helper()
	exit, err := ctr.Wait(e.ctx, process)
	e.must(err)
	return exit
}

// await polls until a condition is true.
func (e *engine) await(what string, is func() bool) {
	e.Helper()
	for !is() {
		select {
		case <-e.ctx.Done():
			e.Fatalf("in vain: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func isGone(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid))
	return errors.Is(err, os.ErrNotExist)
}

// TestKeeperKilled kills the keeper. runtimed ends, too, and the containers run on. The
// next keeper's runtimed takes them over. The exit of a process that ended meanwhile is
// unknown. Later exits are known if the kernel keeps the exit status.
func TestKeeperKilled(t *testing.T) {
	r := startRuntimed(t, buildRuntimed(t), "runc")
	rootfs, groups := busyboxRootfs(t), newGroups(t)
	spec := func(script string) *specs.Spec { return groups.place(scriptSpec(rootfs, script)) }
	e := newEngine(t, r.dial(t, "keeper-killed"))
	running := e.start("running", spec("cat; exit 7"), libcontainerd.StdioConfig{Stdin: true})
	ended := e.start("ended", spec("sleep 1000"), libcontainerd.StdioConfig{})
	_, err := running.Exec(e.ctx, "exec", scriptProcess("sleep 1000"), libcontainerd.StdioConfig{})
	e.must(err)

	e.must(r.keeper.Process.Kill())
	_ = r.keeper.Wait() // the error says that it was killed
	e.await("runtimed ends", func() bool { return len(processesOf(r.dir)) == 0 })
	e.must(syscall.Kill(ended.Pid(), syscall.SIGKILL))
	e.await("the container ends", func() bool { return isGone(ended.Pid()) })
	if log := r.log(t); !strings.Contains(log, "keeper "+strconv.Itoa(r.keeper.Process.Pid)+" is dead") {
		t.Error("runtimed's log doesn't say why it ended")
	}
	r.startKeeper(t)

	if exit := e.wait(ended, libcontainerd.InitProcess); !strings.Contains(exit.Unknown, "no keeper") {
		t.Errorf("ended while no keeper was there: %+v", exit)
	}
	if s := running.Status(); s != libcontainerd.StatusRunning {
		t.Fatalf("status %v", s)
	}
	e.must(running.Signal(e.ctx, "exec", syscall.SIGTERM))
	e.endedAs(e.wait(running, "exec"), 128+int(syscall.SIGTERM))
	e.must(running.CloseStdin(libcontainerd.InitProcess))
	e.endedAs(e.wait(running, libcontainerd.InitProcess), 7)
}

// endedAs compares the exit of a process that isn't the keeper's child.
func (e *engine) endedAs(exit libcontainerd.Exit, code int) {
	e.Helper()
	switch {
	case exit.Unknown == "" && exit.Code == code:
	case exit.Unknown != "" && !kernelKeepsExits(e.T):
	default:
		e.Errorf("exit %+v, want code %d", exit, code)
	}
}

// kernelKeepsExits is true if a pidfd has the exit status of a process that was already
// reaped (Linux 6.15).
func kernelKeepsExits(t *testing.T) bool {
	t.Helper()
	var fd int
	cmd := exec.Command("/bin/busybox", "true")
	cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &fd}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	return unix.IoctlPidfdInfo(fd, &info) == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0
}

// TestOutOfMemory runs containers out of memory, with and without an engine.
func TestOutOfMemory(t *testing.T) {
	r := startRuntimed(t, buildRuntimed(t), "runc")
	rootfs, groups := busyboxRootfs(t), newGroups(t)
	limit := int64(16 << 20)
	spec := func(script string) *specs.Spec {
		s := groups.place(scriptSpec(rootfs, script))
		s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
		return s
	}
	e := newEngine(t, r.dial(t, "out-of-memory"))
	live := e.start("live", spec("exec busybox tail /dev/zero"), libcontainerd.StdioConfig{})
	if exit := e.wait(live, libcontainerd.InitProcess); exit.Code != 137 || !exit.OOMKilled {
		t.Errorf("exit %+v", exit)
	}
	want := []libcontainerd.EventType{libcontainerd.EventStart, libcontainerd.EventOOM, libcontainerd.EventExit}
	if got := libcontainerdtest.Types(e.recorder.Events("live")); !slices.Equal(got, want) {
		t.Errorf("events %v", got)
	}

	alone := e.start("alone", spec("sleep 0.5; exec busybox tail /dev/zero"), libcontainerd.StdioConfig{})
	pid := alone.Pid()
	e.stop()
	exit, err := e.daemon.Wait(e.ctx, "alone", libcontainerd.InitProcess)
	if err != nil || exit.Code != 137 || !exit.OOMKilled {
		t.Errorf("runtimed says %+v, %v", exit, err)
	}
	e.prepare()
	_, err = e.client.Restore(e.ctx, "live", libcontainerd.RestoreOptions{Generation: 1})
	e.must(err)
	alone, err = e.client.Restore(e.ctx, "alone", libcontainerd.RestoreOptions{Generation: 1, Pid: pid})
	e.must(err)
	e.run()
	if exit := e.wait(alone, libcontainerd.InitProcess); exit.Code != 137 || !exit.OOMKilled {
		t.Errorf("restored: exit %+v", exit)
	}
}

// TestCreateGivenUp ends requests to create at many moments. Nothing may be left of the
// tasks: the cleanups of startRuntimed and newGroups check that.
func TestCreateGivenUp(t *testing.T) {
	programs, rootfs := buildRuntimed(t), busyboxRootfs(t)
	for _, c := range []struct {
		ociRuntime string
		wrap       []string
	}{{"runc", nil}, {"crun", withoutUnified}} {
		t.Run(c.ociRuntime, func(t *testing.T) {
			groups := newGroups(t)
			d := startRuntimed(t, programs, c.ociRuntime, c.wrap...).dial(t, "given-up")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			created := 0
			for i := range 60 {
				s := groups.place(scriptSpec(rootfs, "exit 0"))
				if err := d.CreateContainer(ctx, libcontainerd.Record{ID: "c", Spec: s}); err != nil {
					t.Fatal(err)
				}
				short, giveUp := context.WithTimeout(ctx, time.Duration(i)*time.Millisecond)
				_, err := d.CreateTask(short, "c", libcontainerd.TaskConfig{})
				giveUp()
				if err != nil && !errdefs.IsDeadlineExceeded(err) && !errdefs.IsCanceled(err) {
					t.Errorf("after %d ms: %v", i, err)
				}
				if err == nil {
					created++
				}
				// The task may have been created although the request has ended.
				if _, err := d.Delete(ctx, "c", libcontainerd.InitProcess); err != nil && !errdefs.IsNotFound(err) {
					t.Fatal(err)
				}
				if err := d.DeleteContainer(ctx, "c"); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("%d of 60 were created", created)
		})
	}
}

// TestRuntimedKilledWhileCreating kills runtimed in the middle of creates. The next
// runtimed undoes creates that were not finished, and serves those that were.
func TestRuntimedKilledWhileCreating(t *testing.T) {
	programs := buildRuntimed(t)
	slow := &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/busybox", Args: []string{"sleep", "0.5"}}}}
	t.Run("quick", func(t *testing.T) { killWhileCreating(t, startRuntimed(t, programs, "runc"), nil) })
	t.Run("slow", func(t *testing.T) { killWhileCreating(t, startRuntimed(t, programs, "runc"), slow) })
}

func killWhileCreating(t *testing.T, r *privateRuntimed, hooks *specs.Hooks) {
	rootfs, groups := busyboxRootfs(t), newGroups(t)
	d := r.dial(t, "killed-creating")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for round := range 5 { // the keeper's pause before a restart doubles
		var creates sync.WaitGroup
		for i := range 4 {
			id := fmt.Sprintf("c%d-%d", round, i)
			s := groups.place(scriptSpec(rootfs, "exit 0"))
			s.Hooks = hooks
			if err := d.CreateContainer(ctx, libcontainerd.Record{ID: id, Spec: s}); err != nil {
				t.Fatal(err)
			}
			creates.Go(func() {
				if _, err := d.CreateTask(ctx, id, libcontainerd.TaskConfig{}); err != nil &&
					!errdefs.IsUnavailable(err) {
					t.Errorf("create %s: %v", id, err)
				}
			})
		}
		old := r.runtimedPid(t)
		<-time.After(time.Duration(5+15*round) * time.Millisecond)
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		creates.Wait()
		for r.runtimedPid(t) == 0 || d.Healthy(ctx) != nil {
			if ctx.Err() != nil {
				t.Fatal("no runtimed comes back")
			}
			<-time.After(5 * time.Millisecond)
		}
		deleteAll(ctx, t, d)
	}
}

// deleteAll deletes all containers, whose tasks were never started.
func deleteAll(ctx context.Context, t *testing.T, d *remote.Daemon) {
	t.Helper()
	err := d.Containers(ctx, func(id string) error {
		if _, err := d.Delete(ctx, id, libcontainerd.InitProcess); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		return d.DeleteContainer(ctx, id)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// slowStart is a runc that waits half a second before each start.
func slowStart(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "slow-runc") // for a program named runc, runtimed would do the start itself
	script := "#!/bin/sh\nfor arg in \"$@\"; do [ \"$arg\" = start ] && sleep 0.5; done\nexec runc \"$@\"\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRuntimedKilledWhileStarting kills runtimed while the OCI runtime starts a container.
// The next runtimed waits for the OCI runtime, and knows that the container runs.
func TestRuntimedKilledWhileStarting(t *testing.T) {
	r := startRuntimed(t, buildRuntimed(t), slowStart(t))
	rootfs, groups := busyboxRootfs(t), newGroups(t)
	e := newEngine(t, r.dial(t, "killed-starting"))
	e.must(e.daemon.CreateContainer(e.ctx,
		libcontainerd.Record{ID: "c", Spec: groups.place(scriptSpec(rootfs, "exec sleep 1000"))}))
	_, err := e.daemon.CreateTask(e.ctx, "c", libcontainerd.TaskConfig{})
	e.must(err)
	started := make(chan error, 1)
	go func() {
		_, err := e.daemon.Start(e.ctx, "c", libcontainerd.InitProcess)
		started <- err
	}()
	e.await("the OCI runtime is at work", func() bool {
		return slices.ContainsFunc(processesOf(r.root()),
			func(line string) bool { return strings.Contains(line, " start ") })
	})
	e.must(syscall.Kill(r.runtimedPid(t), syscall.SIGKILL))
	if err := <-started; !errdefs.IsUnavailable(err) {
		t.Fatalf("start: %v", err)
	}
	var task libcontainerd.Task
	e.await("the next runtimed serves", func() bool {
		task, err = e.daemon.Process(e.ctx, "c", libcontainerd.InitProcess)
		return err == nil
	})
	if task.Status != libcontainerd.TaskRunning {
		t.Errorf("task %+v", task)
	}
	e.must(e.daemon.Kill(e.ctx, "c", libcontainerd.InitProcess, syscall.SIGKILL, false))
	exit, err := e.daemon.Wait(e.ctx, "c", libcontainerd.InitProcess)
	e.must(err)
	e.endedAs(exit, 137)
	_, err = e.daemon.Delete(e.ctx, "c", libcontainerd.InitProcess)
	e.must(err)
	e.must(e.daemon.DeleteContainer(e.ctx, "c"))
}
