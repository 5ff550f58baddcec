package runtimed_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/api/events"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/engine-lite/engine-lite/fifo"
)

// counter is a script that counts the lines of its stdin, so that the test controls each
// step.
const counter = `trap 'exit 5' TERM; i=0; while read x; do i=$((i+1)); echo $i; done`

// withCRIU puts the CRIU that hack/criu unpacked into PATH.
func withCRIU(t *testing.T) {
	t.Helper()
	dir, err := filepath.Abs("../.cache/criu")
	check(t, err)
	if _, err := os.Stat(filepath.Join(dir, "criu")); err != nil {
		t.Fatalf("run hack/criu first: %v", err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func packOptions(t *testing.T, v any) *anypb.Any {
	t.Helper()
	packed, err := typeurl.MarshalAnyToProto(v)
	check(t, err)
	return packed
}

func (d *daemon) checkpoint(t *testing.T, id string, opts *options.CheckpointOptions) error {
	t.Helper()
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.Checkpoint(ctx, &tasks.CheckpointTaskRequest{ContainerID: id, Options: packOptions(t, opts)})
	return err
}

// createFrom creates the task of a recorded container from a checkpoint.
func (d *daemon) createFrom(t *testing.T, id, images string, s *streams) (*tasks.CreateTaskResponse, error) {
	t.Helper()
	ctx, cancel := d.within()
	defer cancel()
	return d.tasks.Create(ctx, &tasks.CreateTaskRequest{
		ContainerID: id, Stdin: s.set.Paths().Stdin, Stdout: s.set.Paths().Stdout, Stderr: s.set.Paths().Stderr,
		Options: packOptions(t, &options.Options{CriuImagePath: images}),
	})
}

func (d *daemon) state(id string) *task.Process {
	d.t.Helper()
	ctx, cancel := d.within()
	defer cancel()
	r, err := d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: id})
	check(d.t, err)
	return r.Process
}

func (d *daemon) kill(id string, signal syscall.Signal) {
	d.t.Helper()
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(signal)})
	check(d.t, err)
}

// typist writes lines to a container's stdin.
type stdinWriter struct {
	d  *daemon
	s  *streams
	in *fifo.Stdin
}

func (d *daemon) typist(t *testing.T, s *streams) stdinWriter {
	t.Helper()
	in, err := s.set.OpenStdin(t.Context())
	check(t, err)
	t.Cleanup(func() { check(t, in.Abort()) })
	return stdinWriter{d: d, s: s, in: in}
}

// line writes a line and waits until all output so far is want.
func (y stdinWriter) line(t *testing.T, want string) {
	t.Helper()
	_, err := y.in.Write([]byte("x\n"))
	check(t, err)
	y.d.await("output is "+strconv.Quote(want), func() bool { return y.s.sofar() == want })
}

// A restored counter goes on from its count: in its own container, and in another one.
func TestCheckpointLeavesRunning(t *testing.T) {
	withCRIU(t)
	d := startDaemon(t, "runc")
	first, second := d.open("first", true), d.open("second", true)
	d.run("first", counter, first)
	in := d.typist(t, first)
	in.line(t, "1\n")
	in.line(t, "1\n2\n")
	images := filepath.Join(d.dir, "images")
	check(t, d.checkpoint(t, "first", &options.CheckpointOptions{ImagePath: images}))
	in.line(t, "1\n2\n3\n")

	d.record("second", d.spec("second", counter))
	r, err := d.createFrom(t, "second", images, second)
	check(t, err)
	equal(t, "pid before the start", r.Pid, 0)
	equal(t, "status before the start", d.state("second").Status, task.Status_CREATED)
	next := d.subscribe(`topic=="/tasks/start"`)
	pid := d.start("second", "")
	event := &events.TaskStart{}
	check(t, typeurl.UnmarshalTo(next().Event, event))
	equal(t, "pid in the event", event.Pid, pid)
	equal(t, "pid in the state", d.state("second").Pid, pid)
	on := d.typist(t, second)
	on.line(t, "3\n")
	on.line(t, "3\n4\n")
	for id, s := range map[string]*streams{"first": first, "second": second} {
		d.kill(id, syscall.SIGTERM)
		equal(t, "exit status of "+id, d.wait(id, ""), 5)
		s.end()
		d.delete(id)
	}
	equal(t, "output", second.end(), "3\n4\n")
	left, err := filepath.Glob(filepath.Join(d.dir, ".images*"))
	check(t, err)
	equal(t, "partial images", len(left), 0)
}

// A task that ends with its checkpoint has one exit, by CRIU's SIGKILL. A restored task is
// like any other, also for the next runtimed.
func TestCheckpointExits(t *testing.T) {
	withCRIU(t)
	d := startDaemon(t, "runc")
	first, second := d.open("first", true), d.open("second", true)
	next := d.subscribe(`topic=="/tasks/exit"`, `topic=="/tasks/checkpointed"`)
	d.run("first", counter, first)
	d.typist(t, first).line(t, "1\n")
	images := filepath.Join(d.dir, "images")
	check(t, os.Mkdir(images, 0o700)) // an empty directory is allowed
	check(t, d.checkpoint(t, "first", &options.CheckpointOptions{ImagePath: images, Exit: true}))
	equal(t, "status", d.state("first").Status, task.Status_STOPPED)
	equal(t, "exit status", d.wait("first", ""), 128+9)
	topics := map[string]int{next().Topic: 1}
	topics[next().Topic]++
	equal(t, "events", topics["/tasks/exit"]+topics["/tasks/checkpointed"], 2)
	equal(t, "output", first.end(), "1\n")
	d.delete("first")

	d.record("second", d.spec("second", counter))
	_, err := d.createFrom(t, "second", images, second)
	check(t, err)
	d.killRuntimed() // the create must be remembered
	pid := d.start("second", "")
	in := d.typist(t, second)
	in.line(t, "2\n")
	d.killRuntimed() // and so must the restored process
	equal(t, "pid", d.state("second").Pid, pid)
	equal(t, "status", d.state("second").Status, task.Status_RUNNING)
	in.line(t, "2\n3\n")
	d.addExec("second", "e", "exit 8", nil, false)
	d.start("second", "e")
	equal(t, "exit status of an exec", d.wait("second", "e"), 8)
	ctx, cancel := d.within()
	defer cancel()
	pids, err := d.tasks.ListPids(ctx, &tasks.ListPidsRequest{ContainerID: "second"})
	check(t, err)
	equal(t, "processes in its control group", len(pids.Processes), 1)
	d.kill("second", syscall.SIGTERM)
	equal(t, "exit status", d.wait("second", ""), 5)
	second.end()
	d.delete("second")
}

// Output that was not read yet stays in the FIFOs and isn't written again. Input that the
// container had not read is still in stdin.
func TestCheckpointOfFullPipes(t *testing.T) {
	withCRIU(t)
	d := startDaemon(t, "runc")
	const script = `echo unread; touch /tmp/ready; while [ ! -e /tmp/go ]; do sleep 0.05; done; read x; echo got $x; exit 3`
	set, err := fifo.Create(filepath.Join(d.dir, "first"), fifo.Config{Stdin: true, Stdout: true})
	check(t, err)
	stdout, err := set.OpenStdout(t.Context()) // no reader yet
	check(t, err)
	defer stdout.Close()
	in, err := set.OpenStdin(t.Context())
	check(t, err)
	defer func() { check(t, in.Abort()) }()
	d.run("first", script, &streams{set: set})
	_, err = in.Write([]byte("word\n"))
	check(t, err)
	d.addExec("first", "ready", "while [ ! -e /tmp/ready ]; do sleep 0.05; done", nil, false)
	d.start("first", "ready")
	d.wait("first", "ready")
	images := filepath.Join(d.dir, "images")
	check(t, d.checkpoint(t, "first", &options.CheckpointOptions{ImagePath: images, Exit: true}))
	stdout.ExitKnown()
	text, err := io.ReadAll(stdout)
	check(t, err)
	equal(t, "what was unread", string(text), "unread\n")

	second := d.open("second", true)
	d.record("second", d.spec("second", script))
	_, err = d.createFrom(t, "second", images, second)
	check(t, err)
	d.start("second", "")
	d.addExec("second", "go", "touch /tmp/go", nil, false)
	d.start("second", "go")
	equal(t, "exit status", d.wait("second", ""), 3)
	equal(t, "output", second.end(), "got word\n")
}

// CRIU refuses a task with a connection, unless an option includes connections. The task
// runs on, and nothing is left.
func TestCheckpointFails(t *testing.T) {
	withCRIU(t)
	d := startDaemon(t, "runc")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	s := d.open("c", true)
	spec := d.spec("c", fmt.Sprintf("sleep 1000 | nc 127.0.0.1 %d & ", l.Addr().(*net.TCPAddr).Port)+counter)
	spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces,
		func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
	d.record("c", spec)
	check(t, d.create("c", s, false))
	d.start("c", "")
	conn, err := l.Accept()
	check(t, err)
	defer conn.Close()
	in := d.typist(t, s)
	in.line(t, "1\n")
	parent := filepath.Join(d.dir, "checkpoints")
	check(t, os.Mkdir(parent, 0o700))
	images, work := filepath.Join(parent, "images"), filepath.Join(d.dir, "work")
	err = d.checkpoint(t, "c", &options.CheckpointOptions{ImagePath: images, WorkPath: work, Exit: true})
	equal(t, "code", status.Code(err), codes.Unknown)
	if !strings.Contains(err.Error(), "TCP") {
		t.Errorf("CRIU's own words are missing: %v", err)
	}
	_, err = os.Stat(filepath.Join(work, "dump.log"))
	check(t, err)
	left, err := os.ReadDir(parent)
	check(t, err)
	equal(t, "files", len(left), 0)
	_, err = os.Lstat(filepath.Join(d.dir, "root", testNamespace, "c", "checkpoint.json"))
	equal(t, "no checkpoint is being made", os.IsNotExist(err), true)
	equal(t, "status", d.state("c").Status, task.Status_RUNNING)
	in.line(t, "1\n2\n")
}

// Execs and a pause are not a part of a checkpoint: they stay in the container, and are
// not restored.
func TestCheckpointInTheMiddle(t *testing.T) {
	withCRIU(t)
	d := startDaemon(t, "runc")
	first, second := d.open("first", true), d.open("second", true)
	d.run("first", counter, first)
	in := d.typist(t, first)
	in.line(t, "1\n")
	d.addExec("first", "e", "while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 8", nil, false)
	d.start("first", "e")
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.Pause(ctx, &tasks.PauseTaskRequest{ContainerID: "first"})
	check(t, err)
	images := filepath.Join(d.dir, "images")
	check(t, d.checkpoint(t, "first",
		&options.CheckpointOptions{ImagePath: images, FileLocks: true, EmptyNamespaces: []string{"network"},
			CgroupsMode: "soft"}))
	equal(t, "status", d.state("first").Status, task.Status_PAUSED)
	_, err = d.tasks.Resume(ctx, &tasks.ResumeTaskRequest{ContainerID: "first"})
	check(t, err)
	d.addExec("first", "go", "touch /tmp/go", nil, false)
	d.start("first", "go")
	equal(t, "exit status of the exec", d.wait("first", "e"), 8)
	in.line(t, "1\n2\n")

	d.record("second", d.spec("second", counter))
	_, err = d.createFrom(t, "second", images, second)
	check(t, err)
	d.start("second", "")
	equal(t, "status", d.state("second").Status, task.Status_RUNNING)
	d.typist(t, second).line(t, "2\n")
}

// A restored process has a terminal again: a new one.
func TestCheckpointOnTerminal(t *testing.T) {
	withCRIU(t)
	d := startDaemon(t, "runc")
	first, second := d.open("first", true), d.open("second", true)
	make := func(id string, s *streams, opts *options.Options) {
		spec := d.spec(id, "stty -echo; echo ready; "+counter)
		spec.Process.Terminal = true
		d.record(id, spec)
		ctx, cancel := d.within()
		defer cancel()
		_, err := d.tasks.Create(ctx, &tasks.CreateTaskRequest{
			ContainerID: id, Terminal: true, Stdin: s.set.Paths().Stdin, Stdout: s.set.Paths().Stdout,
			Options: packOptions(t, opts),
		})
		check(t, err)
		d.start(id, "")
	}
	make("first", first, &options.Options{})
	d.await("the container is ready", func() bool { return first.sofar() == "ready\r\n" })
	d.typist(t, first).line(t, "ready\r\n1\r\n")
	images := filepath.Join(d.dir, "images")
	check(t, d.checkpoint(t, "first", &options.CheckpointOptions{ImagePath: images, Exit: true, Terminal: true}))
	equal(t, "output", first.end(), "ready\r\n1\r\n")

	make("second", second, &options.Options{CriuImagePath: images})
	d.killRuntimed()
	d.typist(t, second).line(t, "2\r\n")
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.ResizePty(ctx, &tasks.ResizePtyRequest{ContainerID: "second", Width: 90, Height: 30})
	check(t, err)
	d.kill("second", syscall.SIGTERM)
	equal(t, "exit status", d.wait("second", ""), 5)
}
