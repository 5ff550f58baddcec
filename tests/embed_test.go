package tests

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
	"github.com/engine-lite/engine-lite/libcontainerd/spool"
)

// spooler is an embedding engine: it keeps the output of each process in a spool.
type spooler struct {
	libcontainerdtest.Recorder // keeps the events
	spools                     sync.Map
}

func (e *spooler) AttachStreams(_ context.Context, s libcontainerd.ProcessStreams) error {
	output, err := spool.New(s.Stdout(), spool.Options{Bound: 256 << 10})
	if err == nil {
		e.spools.Store(s.ContainerID+"/"+s.ProcessID, output)
	}
	return err
}

func (e *spooler) DrainStreams(ctx context.Context, id, process string) error {
	select {
	case <-e.of(id, process).Done():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (e *spooler) of(id, process string) *spool.Spool {
	output, _ := e.spools.Load(id + "/" + process)
	return output.(*spool.Spool)
}

// TestEmbedder is a small embedding engine on runtimed: run, exec and stop. An output has
// several readers, and one of them is stuck.
func TestEmbedder(t *testing.T) {
	daemon := startRuntimed(t, buildRuntimed(t), "runc")
	groups, rootfs := newGroups(t), busyboxRootfs(t)
	backend := &spooler{}
	e := &engine{T: t, ctx: t.Context(), daemon: daemon.dial(t, "embedder"), recorder: &backend.Recorder}
	client, err := libcontainerd.New(e.daemon, libcontainerd.FIFO(t.TempDir()), backend)
	e.must(err)
	e.client = client
	e.run()
	t.Cleanup(e.stop)
	t.Cleanup(func() {
		backend.spools.Range(func(_, output any) bool {
			if err := output.(*spool.Spool).Close(); err != nil {
				t.Error(err)
			}
			return true
		})
	})
	ctr := e.start("web", groups.place(scriptSpec(rootfs, "echo serving; cat")), libcontainerd.StdioConfig{Stdin: true})
	stuck := backend.of("web", libcontainerd.InitProcess).Reader(0)
	exit, err := ctr.RunExec(e.ctx, "check", scriptProcess("echo healthy; exit 3"), libcontainerd.StdioConfig{})
	e.must(err)
	if said := e.said(backend.of("web", "check")); exit.Code != 3 || said != "healthy\n" {
		t.Errorf("exec: %+v, %q", exit, said)
	}
	const flood = "i=0; while [ $i -lt 50000 ]; do echo 0123456789; i=$((i+1)); done; exit 4"
	exit, err = e.client.RunContainer(e.ctx, "flood", groups.place(scriptSpec(rootfs, flood)),
		libcontainerd.CreateOptions{},
		libcontainerd.StartOptions{})
	e.must(err)
	if _, to := backend.of("flood", libcontainerd.InitProcess).Kept(); exit.Code != 4 || to != 50000*11 {
		t.Errorf("flood: %+v, %d bytes", exit, to)
	}
	if _, err := backend.of("flood",
		libcontainerd.InitProcess).Reader(0).Read(make([]byte, 1)); !errdefs.IsOutOfRange(err) {
		t.Errorf("a reader that was too late: %v", err)
	}
	exit, err = ctr.Stop(e.ctx, libcontainerd.StopOptions{Grace: -1})
	e.must(err)
	if said := e.said(backend.of("web", libcontainerd.InitProcess)); exit.Code != 137 || said != "serving\n" {
		t.Errorf("stop: %+v, %q", exit, said)
	}
	if said, err := io.ReadAll(stuck); err != nil || string(said) != "serving\n" {
		t.Errorf("what the stuck reader reads in the end: %q, %v", said, err)
	}
	e.must(ctr.Delete(e.ctx, libcontainerd.DeleteOptions{}))
	if types := fmt.Sprint(libcontainerdtest.Types(backend.Events("web"))); types != "[start exec-added exec-started exit-process exit]" {
		t.Errorf("events %s", types)
	}
}

// said returns the whole content of a spool.
func (e *engine) said(s *spool.Spool) string {
	e.Helper()
	b, err := io.ReadAll(s.Reader(0))
	e.must(err)
	return string(b)
}
