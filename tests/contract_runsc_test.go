package tests

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
)

// runscArgs let gVisor run on any machine: with a platform that needs no virtual machine,
// and without a network of its own.
var runscArgs = []string{"--platform=systrap", "--network=none"}

// builtRunsc is the path of the runsc that hack/runsc builds.
func builtRunsc(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("../hack/runsc")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cannot build runsc: %v", err)
	}
	path := strings.TrimSpace(string(out))
	if !filepath.IsAbs(path) || !isFile(path) {
		t.Fatalf("hack/runsc says %q", path)
	}
	return path
}

// beyondRunsc are the cases that gVisor can't pass.
var beyondRunsc = func() []libcontainerdtest.Without {
	const (
		inside = "the host sees the sandbox, not what runs in it"
		noCRIU = "gVisor writes checkpoints of its own, not with CRIU"
	)
	return []libcontainerdtest.Without{
		{Case: "state/command lines", Reason: inside},
		{Case: "checkpoint/runs on", Reason: noCRIU},
		{Case: "checkpoint/ends, and goes on where it was", Reason: noCRIU},
		{Case: "checkpoint/two at once", Reason: noCRIU},
	}
}()

// beyondRunscToo is an environment variable: with it, the test also runs the cases in
// beyondRunsc.
const beyondRunscToo = "ENGINE_LITE_TEST_BEYOND_RUNSC"

// TestContractOnRunsc runs the client layer's contract suite on runtimed with
// gVisor, which stands for all runtimes that run containers in a sandbox with a
// kernel of its own. hack/test runs it with --long only.
func TestContractOnRunsc(t *testing.T) {
	without := beyondRunsc
	if os.Getenv(beyondRunscToo) != "" {
		without = nil
	}
	daemon := startRuntimed(t, buildRuntimed(t), builtRunsc(t))
	criuInPath(t)
	runContract(t, daemon, busyboxRootfs(t), libcontainerd.CreateOptions{RuntimeArgs: runscArgs}, without...)
}

// TestBeyondRunsc runs the cases that TestContractOnRunsc leaves out. A case that passes
// must not be left out.
func TestBeyondRunsc(t *testing.T) {
	mustFail(t, "TestContractOnRunsc", beyondRunscToo, beyondRunsc)
}

// runscEngine is a client of a runtimed with gVisor, and a container in it that sleeps.
func runscEngine(t *testing.T) (*privateRuntimed, *engine, *libcontainerd.Container) {
	daemon := startRuntimed(t, buildRuntimed(t), builtRunsc(t))
	spec := newGroups(t).place(scriptSpec(busyboxRootfs(t), "sleep 1000"))
	e := newEngine(t, daemon.dial(t, "runsc"))
	ctr, err := e.client.Create(e.ctx, "runsc", spec, libcontainerd.CreateOptions{RuntimeArgs: runscArgs})
	e.must(err)
	_, err = ctr.Start(e.ctx, libcontainerd.StartOptions{})
	e.must(err)
	return daemon, e, ctr
}

// exec starts an exec.
func (e *engine) exec(ctr *libcontainerd.Container, id, script string) {
	e.Helper()
	_, err := ctr.Exec(e.ctx, id, scriptProcess(script), libcontainerd.StdioConfig{})
	e.must(err)
}

// ends checks the exit code of a process.
func (e *engine) ends(ctr *libcontainerd.Container, process string, code int) {
	e.Helper()
	if exit := e.wait(ctr, process); exit.Unknown != "" || exit.Code != code {
		e.Errorf("%q: %+v, want code %d", process, exit, code)
	}
}

// TestRunscSignalsExecs sends signals to execs on gVisor. The exec's process on the host
// only waits for the process in the sandbox. A signal that ended only the process on the
// host would lose the other one.
func TestRunscSignalsExecs(t *testing.T) {
	_, e, ctr := runscEngine(t)
	said := func(process string) (words string) {
		e.await(process+" is ready", func() bool {
			words = e.recorder.Output("runsc", process)
			return strings.HasSuffix(words, "\n")
		})
		return words
	}
	e.exec(ctr, "traps", "trap 'exit 9' TERM; sleep 1000 & echo ready; wait")
	e.exec(ctr, "dies", "echo $$; sleep 1000")
	said("traps")
	pid := said("dies")
	e.must(ctr.Signal(e.ctx, "traps", syscall.SIGTERM))
	e.ends(ctr, "traps", 9)
	e.must(ctr.Signal(e.ctx, "dies", syscall.SIGKILL))
	e.ends(ctr, "dies", 137)
	e.exec(ctr, "look", "! kill -0 "+pid)
	e.ends(ctr, "look", 0)
	e.exec(ctr, "left", "sleep 1000")
	e.must(ctr.Pause(e.ctx))
	if err := e.daemon.Kill(e.ctx, "runsc", "left", syscall.SIGTERM, false); !errdefs.IsFailedPrecondition(err) {
		e.Errorf("a signal to a frozen exec: %v", err)
	}
	e.must(ctr.Resume(e.ctx))
}

// TestRunscOutlivesRuntimed kills runtimed while a container on gVisor is paused. The next
// runtimed knows that the container is paused and can resume it, and its signals reach the
// exec.
func TestRunscOutlivesRuntimed(t *testing.T) {
	daemon, e, ctr := runscEngine(t)
	e.exec(ctr, "exec", "sleep 1000")
	e.must(ctr.Pause(e.ctx))
	e.must(syscall.Kill(daemon.runtimedPid(t), syscall.SIGKILL))
	e.await("the next runtimed says that it is paused", func() bool {
		task, err := e.daemon.Process(e.ctx, "runsc", libcontainerd.InitProcess)
		return err == nil && task.Status == libcontainerd.TaskPaused
	})
	e.must(ctr.Resume(e.ctx))
	e.must(ctr.Signal(e.ctx, "exec", syscall.SIGKILL))
	e.ends(ctr, "exec", 137)
	e.must(ctr.KillAll(e.ctx, syscall.SIGKILL))
	e.ends(ctr, libcontainerd.InitProcess, 137)
}

// mustFail runs cases of a contract test in a process of their own, since each of them
// must fail. The contract test may be a part of another test.
func mustFail(t *testing.T, test, variable string, cases []libcontainerdtest.Without) {
	var within, groups, names []string
	for name := range strings.SplitSeq(test, "/") {
		within = append(within, "^"+regexp.QuoteMeta(name)+"$")
	}
	for _, c := range cases {
		group, name, _ := strings.Cut(strings.ReplaceAll(c.Case, " ", "_"), "/")
		groups, names = append(groups, regexp.QuoteMeta(group)), append(names, regexp.QuoteMeta(name))
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run="+strings.Join(within, "/")+"/^("+strings.Join(groups,
		"|")+")$/^("+strings.Join(names, "|")+")$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), variable+"=1")
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		t.Fatalf("the cases that are left out end with %v:\n%s", err, out)
	}
	for _, c := range cases {
		if !strings.Contains(string(out), "--- FAIL: "+test+"/"+strings.ReplaceAll(c.Case, " ", "_")+" ") {
			t.Errorf("%s is left out (%s), but doesn't fail", c.Case, c.Reason)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
