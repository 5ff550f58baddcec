package tests

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// onContainerd are the tests of the CLI that also run on containerd: those that depend on
// the runtime daemon.
var onContainerd = []string{
	"TestRunAttached", "TestRunPipe", "TestRunRemoves", "TestRunExitCodes", "TestRunKilled", "TestTerminal", "TestExec",
	"TestExecPipe", "TestLogs", "TestAttach", "TestWaitRemoved", "TestStop", "TestPause", "TestTop", "TestEvents",
	"TestConfined", "TestSharedIPCNamespace", "TestSharedPIDNamespace", "TestHealth",
}

// onContainerdToo are further ones, in long runs only.
var onContainerdToo = []string{
	"TestRunDetached", "TestRunWithoutStdin", "TestRunOptions", "TestRunManyLines", "TestTerminalDetach",
	"TestExecTerminal", "TestExecDetached", "TestExecNeedsRunning", "TestExecInspect", "TestLogsFollow",
	"TestCreateAndStart", "TestPs", "TestWait", "TestKillSignal", "TestRemove",
}

// TestOnContainerd runs these tests in a process of their own, on an engine that uses a
// containerd, with one CLI. With containerd 1.6 it runs only in long runs.
func TestOnContainerd(t *testing.T) {
	names := onContainerd
	if long {
		names = slices.Concat(onContainerd, onContainerdToo)
	}
	onEach(t, newest(containerds(t)), func(t *testing.T, release containerdRelease) {
		c := startContainerd(t, release)
		t.Cleanup(func() { noEngineState(t) })
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.v", "-test.count=1", "-test.parallel=4", "-test.timeout=15m",
			"-test.run=^("+strings.Join(names, "|")+")$")
		cmd.Env = append(os.Environ(), sharedArguments+"=--containerd "+c.address,
			"ENGINE_LITE_DOCKER="+dockers(t)[0].path)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, name := range names {
			if !strings.Contains(string(out), "--- PASS: "+name+" ") {
				t.Errorf("%s was not run", name)
			}
		}
	})
}

// noEngineState removes the directory that shims gave runc for the engine's namespace,
// unless another engine has containers there. Each rig finds its own containers by their
// ids.
func noEngineState(t *testing.T) {
	err := os.Remove(filepath.Join("/run/containerd/runc", "engine-lite"))
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrExist) { // ErrExist: not empty
		t.Error(err)
	}
}
