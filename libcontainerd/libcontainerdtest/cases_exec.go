package libcontainerdtest

import (
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

var execCases = []contractCase{
	{name: "exec/output and code", run: execRuns},
	{name: "exec/kills itself", run: execKillsItself},
	{name: "exec/is killed alone", run: execKilled},
	{name: "exec/ends before its container", run: execEndsWithInit},
	{name: "exec/stdin", run: execStdin},
	{name: "exec/ids", run: execIDs},
	{name: "exec/binary is missing", run: execMissing},
	{name: "exec/ten at once", run: execTen},
	{name: "exec/not while created, paused or stopped", run: execStatuses},
}

func (e *env) exec(ctr *libcontainerd.Container, id, script string, cfg libcontainerd.StdioConfig) int {
	e.Helper()
	pid, err := ctr.Exec(e.ctx, id, e.Process(script), cfg)
	e.must(err)
	return pid
}

func execRuns(e *env) {
	ctr := e.started("sleep 1000")
	pid := e.exec(ctr, "e1", "echo inside; exit 6", libcontainerd.StdioConfig{})
	e.exits(ctr, "e1", 6)
	if got := e.recorder.Output(ctr.ID(), "e1"); got != "inside\n" {
		e.Fatalf("output %q", got)
	}
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExecAdded, libcontainerd.EventExecStarted,
		libcontainerd.EventExitProcess)
	if last := e.recorder.Events(ctr.ID())[3]; last.Pid != pid || last.Exit.Code != 6 || last.ProcessID != "e1" {
		e.Fatalf("event %+v", last)
	}
	e.status(ctr, libcontainerd.StatusRunning)
	e.exits(ctr, "e1", 6)
}

// execKillsItself uses an exec, since the init process of a pid namespace can't kill itself, see pid_namespaces(7).
func execKillsItself(e *env) {
	ctr := e.started("sleep 1000")
	e.exec(ctr, "e1", "kill -9 $$", libcontainerd.StdioConfig{})
	e.exits(ctr, "e1", 137)
}

func execKilled(e *env) {
	ctr := e.started("sleep 1000")
	e.exec(ctr, "e1", "sleep 1000", libcontainerd.StdioConfig{})
	if got := ctr.Execs(); len(got) != 1 || got[0] != "e1" {
		e.Fatalf("execs %v", got)
	}
	e.must(ctr.Signal(e.ctx, "e1", syscall.SIGKILL))
	e.exits(ctr, "e1", 137)
	e.status(ctr, libcontainerd.StatusRunning)
	e.refused(ctr.Signal(e.ctx, "e1", syscall.SIGKILL), errdefs.IsFailedPrecondition)
}

func execEndsWithInit(e *env) {
	ctr := e.started("sleep 1000")
	e.exec(ctr, "e1", "sleep 1000", libcontainerd.StdioConfig{})
	e.exec(ctr, "e2", "sleep 1000", libcontainerd.StdioConfig{})
	e.must(ctr.Signal(e.ctx, initProcess, syscall.SIGKILL))
	e.exits(ctr, initProcess, 137)
	e.exits(ctr, "e1", 137)
	e.exits(ctr, "e2", 137)
	all := e.recorder.Events(ctr.ID())
	if last := all[len(all)-1]; last.Type != libcontainerd.EventExit {
		e.Fatalf("events %v", Types(all))
	}
}

func execStdin(e *env) {
	ctr := e.started("sleep 1000")
	var in io.WriteCloser
	e.recorder.OnAttach = func(_, process string, s libcontainerd.Streams) error {
		in = s.Stdin()
		return nil
	}
	e.exec(ctr, "e1", "cat; exit 2", libcontainerd.StdioConfig{Stdin: true})
	_, err := io.WriteString(in, "to an exec\n")
	e.must(err)
	e.must(ctr.CloseStdin("e1"))
	e.exits(ctr, "e1", 2)
	if got := e.recorder.Output(ctr.ID(), "e1"); got != "to an exec\n" {
		e.Fatalf("output %q", got)
	}
}

func execIDs(e *env) {
	ctr := e.started("sleep 1000")
	for _, id := range []string{"", "../x", "a/b", "init", "-x", ctr.ID()} {
		_, err := ctr.Exec(e.ctx, id, e.Process("exit 0"), libcontainerd.StdioConfig{})
		e.refused(err, errdefs.IsInvalidArgument)
	}
	e.exec(ctr, "e1", "exit 0", libcontainerd.StdioConfig{})
	e.exits(ctr, "e1", 0)
	_, err := ctr.Exec(e.ctx, "e1", e.Process("exit 0"), libcontainerd.StdioConfig{})
	e.refused(err, errdefs.IsAlreadyExists)
}

func execMissing(e *env) {
	ctr := e.started("sleep 1000")
	_, err := ctr.Exec(e.ctx, "e1", e.Process(""), libcontainerd.StdioConfig{})
	if err == nil {
		e.Fatal("a missing binary was started")
	}
	if _, err := ctr.Wait(e.ctx, "e1"); !errdefs.IsNotFound(err) {
		e.Fatalf("wait for what never was: %v", err)
	}
	e.exec(ctr, "e1", "exit 0", libcontainerd.StdioConfig{})
	e.exits(ctr, "e1", 0)
	e.status(ctr, libcontainerd.StatusRunning)
}

func execTen(e *env) {
	ctr := e.started("sleep 1000")
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			id := fmt.Sprintf("e%d", i)
			if _, err := ctr.Exec(e.ctx, id, e.Process(fmt.Sprintf("exit %d", i)),
				libcontainerd.StdioConfig{}); err != nil {
				e.Errorf("exec %s: %v", id, err)
				return
			}
			if exit, err := ctr.Wait(e.ctx, id); err != nil || exit.Code != i {
				e.Errorf("exec %s: %+v, %v", id, exit, err)
			}
		})
	}
	wg.Wait()
}

func execStatuses(e *env) {
	ctr := e.create("sleep 1000")
	try := func() error {
		_, err := ctr.Exec(e.ctx, "e1", e.Process("exit 0"), libcontainerd.StdioConfig{})
		return err
	}
	e.refused(try(), errdefs.IsFailedPrecondition)
	e.start(ctr, libcontainerd.StdioConfig{})
	e.must(ctr.Pause(e.ctx))
	e.refused(try(), errdefs.IsFailedPrecondition)
	e.must(ctr.Resume(e.ctx))
	e.must(ctr.Signal(e.ctx, initProcess, syscall.SIGKILL))
	e.exits(ctr, initProcess, 137)
	e.refused(try(), errdefs.IsFailedPrecondition)
}

var stdinCases = []contractCase{
	{name: "stdin/closed before create", run: func(e *env) { e.cat(closeOnAttach) }},
	{name: "stdin/closed while creating", run: func(e *env) { e.cat(closeMeanwhile) }},
	{name: "stdin/closed after start", run: func(e *env) { e.cat(closeAfter) }},
	{name: "stdin/closed twice", run: func(e *env) { e.cat(closeTwice) }},
	{name: "stdin/none is asked for", run: stdinNone},
	{name: "stdin/not closed, cat stays", run: stdinOpen},
}

// closing says when a case closes stdin.
type closing int

const (
	closeOnAttach closing = iota
	closeMeanwhile
	closeAfter
	closeTwice
)

// cat runs a cat, closes its stdin, and compares its output with its input.
func (e *env) cat(when closing) {
	ctr := e.create("cat; exit 8")
	var closers sync.WaitGroup
	e.recorder.OnAttach = func(_, _ string, s libcontainerd.Streams) error {
		switch when {
		case closeOnAttach:
			return s.Stdin().Close()
		case closeMeanwhile:
			closers.Go(func() { _ = s.Stdin().Close() })
		case closeAfter, closeTwice:
		}
		return nil
	}
	e.start(ctr, libcontainerd.StdioConfig{Stdin: true})
	if when == closeAfter || when == closeTwice {
		e.must(ctr.CloseStdin(initProcess))
	}
	if when == closeTwice {
		e.must(ctr.CloseStdin(initProcess))
	}
	closers.Wait()
	e.exits(ctr, initProcess, 8)
}

func stdinNone(e *env) {
	ctr := e.started("cat; exit 8")
	e.must(ctr.CloseStdin(initProcess))
	e.exits(ctr, initProcess, 8)
}

func stdinOpen(e *env) {
	ctr := e.create("cat; exit 8")
	var in io.WriteCloser
	e.recorder.OnAttach = func(_, _ string, s libcontainerd.Streams) error {
		in = s.Stdin()
		return nil
	}
	e.start(ctr, libcontainerd.StdioConfig{Stdin: true})
	_, err := io.WriteString(in, "one\n")
	e.must(err)
	for e.recorder.Output(ctr.ID(), initProcess) != "one\n" {
		if e.ctx.Err() != nil {
			e.Fatal("cat gave nothing")
		}
		<-time.After(5 * time.Millisecond)
	}
	e.status(ctr, libcontainerd.StatusRunning)
	e.must(in.Close())
	e.exits(ctr, initProcess, 8)
}
