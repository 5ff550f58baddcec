package runtimed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/containers/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/engine-lite/engine-lite/fifo"
)

const testNamespace = "test"

// waitLimit bounds every wait of a test.
const waitLimit = 3 * time.Minute

// daemon is a keeper with a runtimed, and a client.
type daemon struct {
	t          testing.TB
	dir        string
	address    string
	containers containers.ContainersClient
	tasks      tasks.TasksClient
	events     eventsapi.EventsClient
	conn       *grpc.ClientConn
	keeper     *exec.Cmd
}

// startDaemon starts a keeper and, as its child, a runtimed. At the end of the test all containers are killed, and
// nothing may be left.
func startDaemon(t testing.TB, runtimeName string, wrap ...string) *daemon {
	t.Helper()
	check(t, prepared())
	dir, err := os.MkdirTemp("", "rtd")
	check(t, err)
	d := &daemon{t: t, dir: dir, address: filepath.Join(dir, "runtimed.sock")}
	args := append([]string{"--dir", filepath.Join(dir, "keeper"), "--runtimed-log", filepath.Join(dir, "log"), "--"},
		d.argv(runtimeName)...)
	argv := append(append(wrap, filepath.Join(binaries, "keeper")), args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	var words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &words, &words
	check(t, cmd.Start())
	d.keeper = cmd
	t.Cleanup(func() {
		d.cleanUp()
		check(t, d.keeper.Process.Signal(syscall.SIGTERM))
		if err := d.keeper.Wait(); err != nil || t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("keeper: %v\n%s\nruntimed:\n%s", err, words.String(), log)
		}
		d.checkLog()
		check(t, os.RemoveAll(dir))
	})
	d.await("the socket is there", func() bool { // before the first call: gRPC would try again only after a second
		conn, err := net.Dial("unix", d.address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	d.conn, err = grpc.NewClient("unix://"+d.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
	check(t, err)
	d.containers, d.tasks, d.events = containers.NewContainersClient(d.conn), tasks.NewTasksClient(d.conn),
		eventsapi.NewEventsClient(d.conn)
	d.awaitServing()
	return d
}

func (d *daemon) argv(runtimeName string) []string {
	argv := []string{
		filepath.Join(binaries, "runtimed"), "--root", filepath.Join(d.dir, "root"), "--address", d.address,
		"--keeper", filepath.Join(d.dir, "keeper", "keeper.sock"), "--log-level", "debug",
	}
	if runtimeName != "" {
		argv = append(argv, "--runtime", runtimeName)
	}
	return argv
}

// awaitServing waits until runtimed answers.
func (d *daemon) awaitServing() {
	d.t.Helper()
	d.await("runtimed answers", func() bool {
		ctx, cancel := context.WithTimeout(d.ctx(), time.Second)
		defer cancel()
		_, err := d.tasks.List(ctx, &tasks.ListTasksRequest{})
		return err == nil
	})
}

// await polls until a condition holds.
func (d *daemon) await(what string, is func() bool) {
	d.t.Helper()
	deadline := time.Now().Add(waitLimit)
	for !is() {
		if time.Now().After(deadline) {
			d.t.Fatalf("in vain: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ctx is a context in the test's namespace. It ends after the test's cleanup.
func (d *daemon) ctx() context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), "containerd-namespace", testNamespace)
}

func (d *daemon) within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(d.ctx(), waitLimit)
}

// checkLog fails the test if runtimed's log has complaints that no test expects.
func (d *daemon) checkLog() {
	d.t.Helper()
	log, err := os.ReadFile(filepath.Join(d.dir, "log"))
	check(d.t, err)
	for _, complaint := range []string{"level=error", "DATA RACE", "panic:"} {
		if bytes.Contains(log, []byte(complaint)) {
			d.t.Errorf("%s in runtimed's log:\n%s", complaint, log)
		}
	}
}

// cleanUp kills and deletes all containers.
func (d *daemon) cleanUp() {
	ctx, cancel := d.within()
	defer cancel()
	list, err := d.containers.List(ctx, &containers.ListContainersRequest{})
	check(d.t, err)
	for _, c := range list.Containers {
		d.destroy(ctx, c.ID)
	}
	check(d.t, d.conn.Close())
	mounts, err := os.ReadFile("/proc/self/mounts")
	check(d.t, err)
	if strings.Contains(string(mounts), d.dir) {
		d.t.Errorf("a mount is left below %s", d.dir)
	}
	if found, _ := filepath.Glob("/sys/fs/cgroup/*/" + groupsName + "/" + filepath.Base(d.dir) + "*"); len(found) > 0 {
		d.t.Errorf("control groups are left: %v", found)
	}
}

func (d *daemon) destroy(ctx context.Context, id string) {
	if _, err := d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: id}); err == nil {
		d.tasks.Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: 9}) // fails if the task has ended
		_, err := d.tasks.Wait(ctx, &tasks.WaitRequest{ContainerID: id})
		check(d.t, err)
		_, err = d.tasks.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
		check(d.t, err)
	}
	_, err := d.containers.Delete(ctx, &containers.DeleteContainerRequest{ID: id})
	check(d.t, err)
}

// runtimedPid is the pid of the keeper's child; 0 while there is none.
func (d *daemon) runtimedPid() int {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, "keeper", "keeper.pid"))
	check(d.t, err)
	// each thread has its own
	lists, err := filepath.Glob("/proc/" + strings.TrimSpace(string(text)) + "/task/*/children")
	check(d.t, err)
	for _, list := range lists {
		children, err := os.ReadFile(list)
		check(d.t, err)
		for _, field := range strings.Fields(string(children)) {
			if exe, err := os.Readlink("/proc/" + field + "/exe"); err == nil &&
				exe == filepath.Join(binaries, "runtimed") {
				pid, err := strconv.Atoi(field)
				check(d.t, err)
				return pid
			}
		}
	}
	return 0
}

// signalRuntimed sends a signal to the runtimed that runs.
func (d *daemon) signalRuntimed(signal syscall.Signal) (pid int) {
	d.t.Helper()
	if pid = d.runtimedPid(); pid == 0 {
		d.t.Fatal("no runtimed runs")
	}
	check(d.t, syscall.Kill(pid, signal))
	return pid
}

// spec is a confined container with a shell script.
func (d *daemon) spec(id, script string) *specs.Spec {
	return &specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: rootfs, Readonly: true},
		Process: &specs.Process{
			Args: []string{"/bin/sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin"}, NoNewPrivileges: true,
		},
		Hostname: id,
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
				Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"},
		},
		Linux: &specs.Linux{
			CgroupsPath: "/" + groupsName + "/" + filepath.Base(d.dir) + id,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace},
			},
		},
	}
}

func pack(t testing.TB, v any) *anypb.Any {
	t.Helper()
	data, err := json.Marshal(v)
	check(t, err)
	return &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", Value: data}
}

// record stores a container.
func (d *daemon) record(id string, spec *specs.Spec) {
	d.t.Helper()
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.containers.Create(ctx,
		&containers.CreateContainerRequest{Container: &containers.Container{ID: id, Spec: pack(d.t, spec),
			Labels: map[string]string{"for": "test"}}})
	check(d.t, err)
}

// streams are a process's FIFOs, and the output that came from stdout.
type streams struct {
	set  *fifo.Set
	out  *fifo.Reader
	work sync.WaitGroup
	mu   sync.Mutex
	text bytes.Buffer
}

// open makes FIFOs and reads stdout until end is called.
func (d *daemon) open(name string, stdin bool) *streams {
	d.t.Helper()
	set, err := fifo.Create(filepath.Join(d.dir, name), fifo.Config{Stdin: stdin, Stdout: true})
	check(d.t, err)
	s := &streams{set: set}
	s.out, err = set.OpenStdout(d.t.Context())
	check(d.t, err)
	s.work.Go(func() {
		buffer := make([]byte, 32<<10)
		for {
			n, err := s.out.Read(buffer)
			s.mu.Lock()
			s.text.Write(buffer[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	d.t.Cleanup(func() {
		s.out.Close()
		s.work.Wait()
	})
	return s
}

// end returns all output of a process whose exit is known.
func (s *streams) end() string {
	s.out.ExitKnown()
	s.work.Wait()
	return s.text.String()
}

func (s *streams) sofar() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (d *daemon) create(id string, s *streams, terminal bool) error {
	d.t.Helper()
	ctx, cancel := d.within()
	defer cancel()
	r := &tasks.CreateTaskRequest{ContainerID: id, Terminal: terminal}
	if s != nil {
		r.Stdin, r.Stdout = s.set.Paths().Stdin, s.set.Paths().Stdout
	}
	_, err := d.tasks.Create(ctx, r)
	return err
}

func (d *daemon) start(id, exec string) uint32 {
	d.t.Helper()
	ctx, cancel := d.within()
	defer cancel()
	r, err := d.tasks.Start(ctx, &tasks.StartRequest{ContainerID: id, ExecID: exec})
	check(d.t, err)
	return r.Pid
}

func (d *daemon) wait(id, exec string) uint32 {
	d.t.Helper()
	ctx, cancel := d.within()
	defer cancel()
	r, err := d.tasks.Wait(ctx, &tasks.WaitRequest{ContainerID: id, ExecID: exec})
	check(d.t, err)
	return r.ExitStatus
}

func (d *daemon) delete(id string) {
	d.t.Helper()
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
	check(d.t, err)
}

// run creates and starts a container with a script.
func (d *daemon) run(id, script string, s *streams) uint32 {
	d.t.Helper()
	d.record(id, d.spec(id, script))
	check(d.t, d.create(id, s, false))
	return d.start(id, "")
}

// subscribe returns a function that returns the next event of the test's namespace, as "topic id".
func (d *daemon) subscribe(filters ...string) func() *types.Envelope {
	d.t.Helper()
	ctx, cancel := d.within()
	d.t.Cleanup(cancel)
	stream, err := d.events.Subscribe(ctx, &eventsapi.SubscribeRequest{Filters: filters})
	check(d.t, err)
	_, err = stream.Header()
	check(d.t, err)
	return func() *types.Envelope {
		d.t.Helper()
		e, err := stream.Recv()
		check(d.t, err)
		return e
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, fmt.Sprint(got), fmt.Sprint(want))
	}
}
