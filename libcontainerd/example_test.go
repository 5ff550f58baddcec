package libcontainerd_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
	"github.com/engine-lite/engine-lite/libcontainerd/spool"
)

// engine is a small container engine. It prints events, and keeps the output of
// each process in a spool, for any number of readers.
type engine struct{ spools sync.Map }

func (e *engine) AttachStreams(_ context.Context, s libcontainerd.ProcessStreams) error {
	output, err := spool.New(s.Stdout(), spool.Options{})
	if err == nil {
		e.spools.Store(s.ContainerID+"/"+s.ProcessID, output)
	}
	return err
}

func (e *engine) StateChanged(_ context.Context, ev libcontainerd.Event) error {
	fmt.Println("event:", ev.ContainerID, ev.ProcessID, ev.Type)
	return nil
}

// DrainStreams makes engine a Drainer: all output of a process is in its spool
// before Wait, Stop and RunExec return the exit.
func (e *engine) DrainStreams(_ context.Context, id, process string) error {
	<-e.output(id, process).Done()
	return nil
}

func (e *engine) output(id, process string) *spool.Spool {
	output, _ := e.spools.Load(id + "/" + process)
	return output.(*spool.Spool)
}

// awaitLine waits until a process has written a line.
func (e *engine) awaitLine(id, process string) error {
	_, err := bufio.NewReader(e.output(id, process).Reader(0)).ReadString('\n')
	return err
}

func (e *engine) print(id, process string, exit libcontainerd.Exit, failure error) {
	output, err := io.ReadAll(e.output(id, process).Reader(0))
	fmt.Printf("%s %s: code %d, %q %v\n", id, process, exit.Code, output, errors.Join(failure, err))
}

func sh(script string) *specs.Process {
	return &specs.Process{Args: []string{"sh", "-c", script}, Cwd: "/"}
}

// work starts a container, runs an exec in it, stops it and deletes it.
func (e *engine) work(ctx context.Context, client *libcontainerd.Client) error {
	spec := &specs.Spec{Process: sh("echo serving; sleep 1000")}
	web, err := client.Create(ctx, "web", spec, libcontainerd.CreateOptions{})
	if err != nil {
		return err
	}
	if _, err := web.Start(ctx, libcontainerd.StartOptions{}); err != nil {
		return err
	}
	if err := e.awaitLine("web", libcontainerd.InitProcess); err != nil {
		return err
	}
	exit, err := web.RunExec(ctx, "check", sh("echo healthy; exit 3"), libcontainerd.StdioConfig{})
	e.print("web", "check", exit, err)
	exit, err = web.Stop(ctx, libcontainerd.StopOptions{Grace: time.Second})
	e.print("web", libcontainerd.InitProcess, exit, err)
	return web.Delete(ctx, libcontainerd.DeleteOptions{})
}

// This is a complete engine, with a runtime daemon and stdio in memory. An engine for
// real containers takes its daemon from remote.New and its stdio from
// FIFO("/run/engine/stdio"), and its specs need a root filesystem.
func Example() {
	stdio := &libcontainerdtest.Stdio{}
	daemon := libcontainerdtest.NewDaemon(stdio)
	defer daemon.Close()
	e := &engine{}
	client, err := libcontainerd.New(daemon, stdio, e)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- client.Run(ctx) }()
	fmt.Println("work:", e.work(ctx, client))
	stop()
	fmt.Println("run:", <-ended)
	e.spools.Range(func(_, output any) bool { return output.(*spool.Spool).Close() == nil })
	// Output:
	// event: web init start
	// event: web check exec-added
	// event: web check exec-started
	// event: web check exit-process
	// web check: code 3, "healthy\n" <nil>
	// event: web init exit
	// web init: code 143, "serving\n" <nil>
	// work: <nil>
	// run: <nil>
}
