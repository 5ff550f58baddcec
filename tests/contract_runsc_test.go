package tests

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
)

// runscArgs are how gVisor runs on any machine: a platform that takes no virtual
// machine, and no network of its own.
var runscArgs = []string{"--platform=systrap", "--network=none"}

// builtRunsc is the runsc that hack/runsc builds.
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

// beyondRunsc are the cases that gVisor can't pass, each by its name.
var beyondRunsc = func() []libcontainerdtest.Without {
	const (
		lostCode = "an exec is waited for by a process that asks the sandbox; where that is killed first, it ends with 128"
		inside   = "the host sees the sandbox, not what runs in it"
		noCRIU   = "gVisor writes checkpoints of its own, not with CRIU"
	)
	return []libcontainerdtest.Without{
		{Case: "exec/ends before its container", Reason: lostCode},
		{Case: "stop/with execs", Reason: lostCode},
		{Case: "state/pids and stats", Reason: inside},
		{Case: "state/command lines", Reason: inside},
		{Case: "checkpoint/runs on", Reason: noCRIU},
		{Case: "checkpoint/ends, and goes on where it was", Reason: noCRIU},
		{Case: "checkpoint/two at once", Reason: noCRIU},
	}
}()

// chanceOnRunsc fails only where two callers meet in one way, so that nobody can
// demand that it fails.
var chanceOnRunsc = libcontainerdtest.Without{
	Case: "race/two callers at once", Reason: "runsc updates no paused container, and what it says then has no class",
}

// beyondRunscToo, in the environment, has the test run what is left out else.
const beyondRunscToo = "ENGINE_LITE_TEST_BEYOND_RUNSC"

// TestContractOnRunsc runs the client layer's contract suite on runtimed with
// gVisor, which stands for all runtimes that run containers in a sandbox with a
// kernel of its own.
func TestContractOnRunsc(t *testing.T) {
	without := append([]libcontainerdtest.Without{chanceOnRunsc}, beyondRunsc...)
	if os.Getenv(beyondRunscToo) != "" {
		without = nil
	}
	daemon := startRuntimed(t, buildRuntimed(t), builtRunsc(t))
	criuInPath(t)
	runContract(t, daemon, busyboxRootfs(t), libcontainerd.CreateOptions{RuntimeArgs: runscArgs}, without...)
}

// TestBeyondRunsc runs what TestContractOnRunsc leaves out: what passes must not
// be left out.
func TestBeyondRunsc(t *testing.T) {
	mustFail(t, "TestContractOnRunsc", beyondRunscToo, beyondRunsc)
}

// mustFail runs cases of a contract test, in a process of their own since they
// are to fail, each of them.
func mustFail(t *testing.T, test, variable string, cases []libcontainerdtest.Without) {
	var groups, names []string
	for _, c := range cases {
		group, name, _ := strings.Cut(strings.ReplaceAll(c.Case, " ", "_"), "/")
		groups, names = append(groups, regexp.QuoteMeta(group)), append(names, regexp.QuoteMeta(name))
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+test+"$/^("+strings.Join(groups, "|")+")$/^("+strings.Join(names, "|")+")$", "-test.timeout=5m")
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
