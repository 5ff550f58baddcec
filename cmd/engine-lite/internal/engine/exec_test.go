package engine

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/exec"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

func TestExec(t *testing.T) {
	r := newRig(t)
	id := r.run("", "sleep 1000")
	execID := r.execCreate(id, "echo hello; exit 4")
	if got, err := r.e.ExecInspect(t.Context(), execID); err != nil || got.Running || got.ExitCode != nil {
		t.Errorf("before: %+v, %v", got, err)
	}
	var out bytes.Buffer
	err := r.e.ExecStart(t.Context(), execID,
		exec.StartOptions{Open: func(bool) (Streams, error) { return Streams{Stdout: &out, Stderr: &out}, nil }})
	if err != nil || out.String() != "hello\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	if got, err := r.e.ExecInspect(t.Context(), execID); err != nil || got.Running || got.ExitCode == nil ||
		*got.ExitCode != 4 {
		t.Errorf("after: %+v, %v", got, err)
	}
	if err := r.e.ExecStart(t.Context(), execID, exec.StartOptions{Detach: true}); !errdefs.IsConflict(err) {
		t.Errorf("a second start: %v", err)
	}
	eventually(t, func() bool { return len(r.e.ExecIDs(id)) == 0 })
	if _, err := r.e.processes.Find(id, execID); !errdefs.IsNotFound(err) {
		t.Errorf("its container's memory is held for it: %v", err)
	}
	want := []string{"exec_create: sh -c echo hello; exit 4", "exec_start: sh -c echo hello; exit 4", "exec_die"}
	if got := r.actions(id)[2:]; !slices.Equal(got, want) {
		t.Errorf("events %q", got)
	}
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	if got, err := r.e.ExecInspect(t.Context(), execID); err != nil || got.ContainerID != id || got.ExitCode == nil ||
		*got.ExitCode != 4 {
		t.Errorf("after the container: %+v, %v", got, err)
	}
}

// The client has its answer before the process starts, and learns of a failed start from the stream.
func TestExecAnswersFirst(t *testing.T) {
	r := newRig(t)
	id := r.run("", "sleep 1000")
	for command, code := range map[string]int{"sh": 0, "nosuch": 127} {
		execID, err := r.e.ExecCreate(t.Context(), id, container.ExecCreateRequest{Cmd: []string{command, "-c", "exit 0"}, AttachStdout: true})
		must(t, err)
		calls, answered := r.daemon.Calls("AddExec"), false
		var out bytes.Buffer
		err = r.e.ExecStart(t.Context(), execID, exec.StartOptions{Open: func(bool) (Streams, error) {
			answered = r.daemon.Calls("AddExec") == calls
			return Streams{Stdout: &out}, nil
		}})
		if !answered {
			t.Errorf("%s: the process was started first", command)
		}
		if failed := code != 0; failed != (err != nil) || failed != strings.Contains(out.String(), "executable file not found") {
			t.Errorf("%s: %v, %q", command, err, out.String())
		}
		if got, err := r.e.ExecInspect(t.Context(), execID); err != nil || got.ExitCode == nil || *got.ExitCode != code {
			t.Errorf("%s: %+v, %v", command, got, err)
		}
	}
}

// A client sends the size of its terminal as soon as it has the answer: the size waits for the process.
func TestExecResizeBeforeTheProcess(t *testing.T) {
	r := newRig(t)
	id := r.run("", "sleep 1000")
	execID, err := r.e.ExecCreate(t.Context(), id, container.ExecCreateRequest{Cmd: []string{"sh", "-c", "sleep 1000"}, AttachStdout: true, Tty: true})
	must(t, err)
	sized, started := make(chan error, 1), make(chan error, 1)
	go func() {
		started <- r.e.ExecStart(t.Context(), execID, exec.StartOptions{Open: func(bool) (Streams, error) {
			go func() { sized <- r.e.ExecResize(t.Context(), execID, 24, 80) }()
			time.Sleep(10 * time.Millisecond) // the call is there, most likely
			return Streams{Stdout: io.Discard}, nil
		}})
	}()
	must(t, receive(t, sized))
	must(t, r.e.ContainerKill(t.Context(), id, ""))
	_ = receive(t, started) // cut off, however it says so
	r.ended(id)
}

func TestExecOfMissingCommand(t *testing.T) {
	r := newRig(t)
	id := r.run("", "sleep 1000")
	execID, err := r.e.ExecCreate(t.Context(), id, container.ExecCreateRequest{Cmd: []string{"nosuch"}})
	must(t, err)
	if err := r.e.ExecStart(t.Context(), execID, exec.StartOptions{Detach: true}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("start: %v", err)
	}
	if got, err := r.e.ExecInspect(t.Context(), execID); err != nil || got.Running || got.ExitCode == nil ||
		*got.ExitCode != 127 {
		t.Errorf("%+v, %v", got, err)
	}
	r.noExecsLeft(id)
}

// noExecsLeft fails the test if anything is left of a container's execs.
func (r *rig) noExecsLeft(id string) {
	r.t.Helper()
	eventually(r.t, func() bool { return len(r.streams.Left()) <= 1 && len(r.e.ExecIDs(id)) == 0 })
	if dirs, _ := filepath.Glob(filepath.Join(r.e.containerDir(id), "exec-*")); len(dirs) > 0 {
		r.t.Errorf("files are left: %v", dirs)
	}
	for _, key := range r.keeper.keys() {
		if !strings.HasPrefix(key, id+"/init:") {
			r.t.Errorf("the keeper holds %s", key)
		}
	}
}

func TestExecRefusals(t *testing.T) {
	r := newRig(t)
	idle, paused := r.create("", "exit 0"), r.run("", "sleep 1000")
	early := r.execCreate(paused, "exit 0")
	must(t, r.e.ContainerPause(t.Context(), paused))
	for name, c := range map[string]struct {
		ref string
		req container.ExecCreateRequest
		is  func(error) bool
	}{
		"no such":     {"nosuch", container.ExecCreateRequest{Cmd: []string{"x"}}, errdefs.IsNotFound},
		"no command":  {paused, container.ExecCreateRequest{}, errdefs.IsInvalidArgument},
		"not running": {idle, container.ExecCreateRequest{Cmd: []string{"x"}}, errdefs.IsConflict},
		"paused":      {paused, container.ExecCreateRequest{Cmd: []string{"x"}}, errdefs.IsConflict},
	} {
		if _, err := r.e.ExecCreate(t.Context(), c.ref, c.req); !c.is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.e.ExecStart(t.Context(), early, exec.StartOptions{Detach: true}); !errdefs.IsConflict(err) {
		t.Errorf("start while paused: %v", err)
	}
	must(t, r.e.ContainerUnpause(t.Context(), paused))
	must(t, r.e.ExecStart(t.Context(), early, exec.StartOptions{Detach: true}))
	if _, err := r.e.ExecInspect(t.Context(), "nosuch"); !errdefs.IsNotFound(err) {
		t.Errorf("inspect: %v", err)
	}
}

// Execs that begin while their container ends leave nothing, started or not.
func TestExecsMeetTheExit(t *testing.T) {
	r := newRig(t)
	id := r.create("", "sleep 1000")
	for range 10 {
		must(t, r.e.ContainerStart(t.Context(), id))
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				execID, err := r.e.ExecCreate(t.Context(), id,
					container.ExecCreateRequest{Cmd: []string{"sh", "-c", "sleep 1000"}, AttachStdout: true})
				if err == nil {
					err = r.e.ExecStart(t.Context(), execID, exec.StartOptions{Open: func(bool) (Streams, error) {
						return Streams{Stdout: io.Discard}, nil
					}})
				}
				if errdefs.IsInternal(err) {
					t.Error(err)
				}
			})
		}
		all.Go(func() { _ = r.e.ContainerKill(t.Context(), id, "") })
		all.Wait()
		r.ended(id)
	}
	r.noExecsLeft(id)
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.empty()
}

// A client that doesn't read delays neither the exec's exit nor the container's.
func TestClientThatDoesNotRead(t *testing.T) {
	r := newRig(t)
	r.close()
	r.bound = 1 << 20
	r.open()
	id := r.run("", "sleep 1000", func(req *container.CreateRequest) { req.HostConfig.LogConfig.Type = "none" })
	stuck, release := stuckWriter()
	var all sync.WaitGroup
	for range 2 {
		opened := make(chan struct{})
		all.Go(func() {
			_ = r.e.ContainerAttach(t.Context(), id,
				AttachOptions{Stdout: true, Stream: true, Open: func(bool) (Streams, error) {
					close(opened)
					return Streams{Stdout: stuck}, nil
				}})
		})
		receive(t, notify(opened))
	}
	execID := r.execCreate(id, "cat")
	much := bytes.NewReader(make([]byte, 2*r.bound)) // more than is kept for slow clients
	all.Go(func() {
		_ = r.e.ExecStart(t.Context(), execID,
			exec.StartOptions{Open: func(bool) (Streams, error) { return Streams{Stdin: much, Stdout: stuck}, nil }})
	})
	eventually(t, func() bool {
		got, err := r.e.ExecInspect(t.Context(), execID)
		return err == nil && got.ExitCode != nil
	})
	must(t, r.e.ContainerKill(t.Context(), id, ""))
	r.ended(id)
	release()
	all.Wait()
}

// stuckWriter blocks until it is released.
func stuckWriter() (io.Writer, func()) {
	r, w := io.Pipe()
	return w, func() { _ = r.Close() }
}

func TestExecProcess(t *testing.T) {
	r := newRig(t)
	id := r.run("", "sleep 1000", func(req *container.CreateRequest) {
		req.Env, req.WorkingDir, req.User = []string{"A=1", "B=2"}, "/work", "12:34"
		req.HostConfig.CapDrop = []string{"NET_RAW"}
	})
	p, err := exec.Process(r.task(id).Record(), record.ExecRequest{
		Cmd: []string{"ls"}, Env: []string{"B=3"}, Tty: true, ConsoleSize: &[2]uint{10, 20}, Privileged: true,
	}, nil)
	must(t, err)
	if p.User.UID != 12 || p.User.GID != 34 || p.Cwd != "/work" || !p.Terminal || p.ConsoleSize.Height != 10 ||
		p.ConsoleSize.Width != 20 {
		t.Errorf("%+v", p)
	}
	for _, kv := range []string{"A=1", "B=3"} {
		if !slices.Contains(p.Env, kv) {
			t.Errorf("%s is not in %v", kv, p.Env)
		}
	}
	if slices.Contains(p.Env, "B=2") || !slices.Contains(p.Capabilities.Bounding, "CAP_SYS_ADMIN") || !slices.Contains(p.Capabilities.Bounding, "CAP_NET_RAW") {
		t.Errorf("%v, %v", p.Env, p.Capabilities.Bounding)
	}
	if slices.Contains(r.task(id).Record().HostConfig.CapAdd, "ALL") {
		t.Error("the exec changed the container")
	}
}

func TestDescriptors(t *testing.T) {
	r := newRig(t)
	count := func() []string {
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		var open []string
		for _, e := range entries {
			// without the descriptor of the directory itself
			if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
				open = append(open, target)
			}
		}
		return open
	}
	once := func() {
		id := r.run("", "sleep 1000")
		r.exec(id, "exit 0")
		r.execCreate(id, "exit 0")
		must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	}
	once()
	before := count()
	for range 10 {
		once()
	}
	// The snapshotter removes directories in the background, and has them open meanwhile.
	defer func() {
		if t.Failed() {
			t.Logf("descriptors before: %q, after: %q", before, count())
		}
	}()
	eventually(t, func() bool { return len(count()) <= len(before) })
	r.empty()
}
