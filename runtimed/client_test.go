package runtimed_test

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/api/events"
	containerd "github.com/containerd/containerd/v2/client"
	coreevents "github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// containerd is containerd's own Go client on our daemon.
func (d *daemon) containerd() (*containerd.Client, context.Context) {
	d.t.Helper()
	c, err := containerd.New(d.address, containerd.WithTimeout(waitLimit))
	check(d.t, err)
	d.t.Cleanup(func() { check(d.t, c.Close()) })
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), testNamespace), 2*waitLimit)
	d.t.Cleanup(cancel)
	return c, ctx
}

// exitOf waits for an exit.
func (d *daemon) exitOf(waiting <-chan containerd.ExitStatus) uint32 {
	d.t.Helper()
	select {
	case exit := <-waiting:
		code, _, err := exit.Result()
		check(d.t, err)
		return code
	case <-time.After(waitLimit):
		d.t.Fatal("the wait doesn't end")
		return 0
	}
}

// containerd's client creates a container, uses it and an exec in it, and gets all exits.
func TestContainerdClient(t *testing.T) {
	d := startDaemon(t, "runc")
	c, ctx := d.containerd()
	serving, err := c.IsServing(ctx)
	check(t, err)
	equal(t, "health", serving, true)
	version, err := c.Version(ctx)
	check(t, err)
	equal(t, "revision", version.Revision, "engine-lite-runtimed")
	heard, failed := d.listen(ctx, c)

	// runtimed has no garbage collection and so no leases. A client with a lease does not
	// create one.
	container, err := c.NewContainer(leases.WithLease(ctx, "none"), "c",
		containerd.WithSpec(d.spec("c", "cat; exit 7")))
	check(t, err)
	found, err := c.NamespaceService().List(ctx)
	check(t, err)
	equal(t, "namespaces", strings.Join(found, " "), testNamespace)
	fifos := cio.WithFIFODir(filepath.Join(d.dir, "fifos"))
	in, feed := io.Pipe()
	var out bytes.Buffer
	task, err := container.NewTask(ctx, cio.NewCreator(cio.WithStreams(in, &out, io.Discard), fifos))
	check(t, err)
	waiting, err := task.Wait(ctx)
	check(t, err)
	check(t, task.Start(ctx))

	var said bytes.Buffer
	spec := &specs.Process{Args: []string{"/bin/sh", "-c", "echo in; exit 5"}, Cwd: "/", Env: []string{"PATH=/bin"}}
	exec, err := task.Exec(ctx, "e", spec, cio.NewCreator(cio.WithStreams(nil, &said, io.Discard), fifos))
	check(t, err)
	execWaiting, err := exec.Wait(ctx)
	check(t, err)
	check(t, exec.Start(ctx))
	equal(t, "exit status of the exec", d.exitOf(execWaiting), 5)
	_, err = exec.Delete(ctx)
	check(t, err)
	equal(t, "output of the exec", said.String(), "in\n")

	d.steer(ctx, task)
	_, err = io.WriteString(feed, "words")
	check(t, err)
	check(t, feed.Close())
	check(t, task.CloseIO(ctx, containerd.WithStdinCloser))
	equal(t, "exit status", d.exitOf(waiting), 7)
	status, err := task.Delete(ctx)
	check(t, err)
	equal(t, "exit status of the delete", status.ExitCode(), 7)
	equal(t, "output", out.String(), "words")
	check(t, container.Delete(ctx))
	if _, err := c.LoadContainer(ctx, "c"); !errdefs.IsNotFound(err) {
		t.Errorf("load of what was deleted: %v", err)
	}
	d.heard(heard, failed)
}

// listen subscribes, and returns when the subscription works. The client does not say
// when, so listen creates containers until an event of one comes.
func (d *daemon) listen(ctx context.Context, c *containerd.Client) (<-chan *coreevents.Envelope, <-chan error) {
	d.t.Helper()
	heard, failed := c.Subscribe(ctx, `namespace==`+testNamespace)
	for n := 0; ; n++ {
		check(d.t, ctx.Err())
		d.record("early"+strconv.Itoa(n), d.spec("early", "exit 0"))
		select {
		case <-heard:
			return heard, failed
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// steer pauses, lists, measures and resumes a task.
func (d *daemon) steer(ctx context.Context, task containerd.Task) {
	d.t.Helper()
	for _, step := range []struct {
		do   func(context.Context) error
		want containerd.ProcessStatus
	}{{task.Pause, containerd.Paused}, {task.Resume, containerd.Running}} {
		check(d.t, step.do(ctx))
		status, err := task.Status(ctx)
		check(d.t, err)
		equal(d.t, "status", status.Status, step.want)
	}
	pids, err := task.Pids(ctx)
	check(d.t, err)
	if !slices.ContainsFunc(pids, func(p containerd.ProcessInfo) bool { return p.Pid == task.Pid() }) {
		d.t.Errorf("process %d is not in %v", task.Pid(), pids)
	}
	metric, err := task.Metrics(ctx)
	check(d.t, err)
	equal(d.t, "what the metrics are of", metric.ID, "c")
	if _, err := typeurl.UnmarshalAny(metric.Data); err != nil {
		d.t.Errorf("metrics: %v", err)
	}
}

// heard checks the events of the container, in order.
func (d *daemon) heard(from <-chan *coreevents.Envelope, failed <-chan error) {
	d.t.Helper()
	var topics []string
	for !slices.Contains(topics, "/containers/delete") {
		select {
		case e := <-from:
			if len(topics) == 0 && e.Topic != "/tasks/create" {
				continue // of containers that listen made, and of this container's record
			}
			topics = append(topics, e.Topic)
			if e.Topic != "/tasks/exit" {
				continue
			}
			event, err := typeurl.UnmarshalAny(e.Event)
			check(d.t, err)
			exit := event.(*events.TaskExit)
			equal(d.t, "exit status in the event of "+exit.ID, exit.ExitStatus,
				map[string]uint32{"c": 7, "e": 5}[exit.ID])
		case err := <-failed:
			d.t.Fatal(err)
		case <-time.After(waitLimit):
			d.t.Fatalf("only %v", topics)
		}
	}
	equal(d.t, "topics", strings.Join(topics, " "), "/tasks/create /tasks/start "+
		"/tasks/exec-added /tasks/exec-started /tasks/exit /tasks/delete /tasks/paused /tasks/resumed /tasks/exit /tasks/delete /containers/delete")
}

// containerd's client kills a task. A wait from before a kill of runtimed ends with an
// error, not with an exit.
func TestContainerdClientOverRestart(t *testing.T) {
	d := startDaemon(t, "runc")
	c, ctx := d.containerd()
	d.run("c", "exec sleep 1000", nil)
	container, err := c.LoadContainer(ctx, "c")
	check(t, err)
	task, err := container.Task(ctx, nil)
	check(t, err)
	waiting, err := task.Wait(ctx)
	check(t, err)
	d.killRuntimed()
	select {
	case exit := <-waiting:
		if _, _, err := exit.Result(); err == nil {
			t.Error("runtimed's death is an exit")
		}
	case <-time.After(waitLimit):
		t.Fatal("the wait doesn't end")
	}
	waiting, err = task.Wait(ctx)
	check(t, err)
	check(t, task.Kill(ctx, syscall.SIGTERM, containerd.WithKillAll))
	check(t, task.Kill(ctx, syscall.SIGKILL))
	equal(t, "exit status", d.exitOf(waiting), 137)
}
