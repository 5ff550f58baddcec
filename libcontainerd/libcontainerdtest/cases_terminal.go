package libcontainerdtest

import (
	"syscall"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

var terminalCases = []contractCase{
	{name: "terminal/start with one in the spec alone", run: func(e *env) { terminalOfStart(e, true) }},
	{name: "terminal/start with one in StdioConfig alone", run: func(e *env) { terminalOfStart(e, false) }},
	{name: "terminal/exec with one in one place only", run: terminalOfExec},
	{name: "terminal/resize needs one", run: terminalResized},
}

// createTerminal makes a container whose spec has a terminal, or not.
func (e *env) createTerminal(script string, terminal bool) *libcontainerd.Container {
	e.Helper()
	spec := e.Spec
	e.Spec = func(script string) *specs.Spec {
		s := spec(script)
		s.Process.Terminal = terminal
		return s
	}
	defer func() { e.Spec = spec }()
	return e.create(script)
}

func terminalOfStart(e *env, inSpec bool) {
	ctr := e.createTerminal("exit 4", inSpec)
	_, err := ctr.Start(e.ctx, libcontainerd.StartOptions{Stdio: libcontainerd.StdioConfig{Terminal: !inSpec}})
	e.refused(err, errdefs.IsInvalidArgument)
	e.nothingStarted(ctr, libcontainerd.StatusCreated)
	e.start(ctr, libcontainerd.StdioConfig{Terminal: inSpec})
	e.exits(ctr, initProcess, 4)
}

func terminalOfExec(e *env) {
	ctr := e.started("sleep 1000")
	streams := len(e.Left())
	for _, inSpec := range []bool{true, false} {
		spec := e.Process("exit 4")
		spec.Terminal = inSpec
		_, err := ctr.Exec(e.ctx, "e1", spec, libcontainerd.StdioConfig{Terminal: !inSpec})
		e.refused(err, errdefs.IsInvalidArgument)
	}
	if left := e.Left(); len(left) != streams {
		e.Fatalf("streams %v", left)
	}
	e.wantEvents(ctr, libcontainerd.EventStart)
	e.exec(ctr, "e1", "exit 4", libcontainerd.StdioConfig{})
	e.exits(ctr, "e1", 4)
}

func terminalResized(e *env) {
	plain := e.started("sleep 1000")
	e.exec(plain, "e1", "sleep 1000", libcontainerd.StdioConfig{})
	for _, process := range []string{initProcess, "e1"} {
		e.refused(plain.Resize(e.ctx, process, 80, 24), errdefs.IsFailedPrecondition)
	}
	e.must(plain.Delete(e.ctx, libcontainerd.DeleteOptions{Force: true}))
	ctr := e.createTerminal("sleep 1000", true)
	e.start(ctr, libcontainerd.StdioConfig{Terminal: true})
	e.must(ctr.Resize(e.ctx, initProcess, 80, 24))
	ctr = e.restarted(ctr, libcontainerd.RestoreOptions{Generation: 1, Pid: ctr.Pid(),
		Stdio: libcontainerd.StdioConfig{Terminal: true}})
	e.must(ctr.Resize(e.ctx, initProcess, 90, 24))
	e.must(ctr.Signal(e.ctx, initProcess, syscall.SIGKILL))
	e.exits(ctr, initProcess, 137)
	_, err := ctr.Start(e.ctx, libcontainerd.StartOptions{})
	e.refused(err, errdefs.IsInvalidArgument)
}
