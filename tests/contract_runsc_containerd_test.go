package tests

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
)

// beyondRunscShim are the cases that gVisor can't pass below the shims of containerd for
// runc, of any release.
var beyondRunscShim = []libcontainerdtest.Without{
	{Case: "state/pids and stats", Reason: "the shim tells the pids inside of the sandbox"},
	{Case: "state/command lines", Reason: "the shim tells the pids inside of the sandbox"},
}

// unprovedOnRunscShim are cases that may fail or pass by chance, or that leave something
// that can't be removed.
var unprovedOnRunscShim = []libcontainerdtest.Without{
	{Case: "state/ids that begin alike",
		Reason: "runsc takes an id for an abbreviation, and the shims give all of a namespace one root: such a task can't be deleted"},
	{Case: "race/two hundred closes of stdin",
		Reason: "takes longer than its minute where two hundred shims and sandboxes start; it runs on runtimed"},
	{Case: "race/two callers at once",
		Reason: "runsc neither signals nor updates a paused container, and what it says then has no class"},
}

// ranElsewhere limits the time: 1.6 has the cases that depend most on the shim and the OCI runtime.
var ranElsewhere = func() []libcontainerdtest.Without {
	var groups []libcontainerdtest.Without
	for _, group := range []string{"run/", "stdin/", "failure/", "event/", "restore/", "checkpoint/"} {
		groups = append(groups,
			libcontainerdtest.Without{Case: group, Reason: "runs on 2.4 and on runtimed"})
	}
	return groups
}()

// TestContractOnRunscShim runs the contract suite with gVisor as the OCI runtime of containerd's shims for runc: the whole
// suite on 2.4, and exec, state and stop on 1.6. hack/test runs it with --long only.
func TestContractOnRunscShim(t *testing.T) {
	criuInPath(t)
	options := libcontainerd.CreateOptions{RuntimePath: wrappedRunsc(t)}
	rootfs := busyboxRootfs(t)
	onEach(t, containerds(t), func(t *testing.T, release containerdRelease) {
		without := slices.Concat(beyondRunscShim, unprovedOnRunscShim)
		if release.version == "1.6" {
			without = append(without, ranElsewhere...)
		}
		if os.Getenv(beyondRunscToo) != "" {
			without = nil
		}
		contractOnContainerd(t, release, rootfs, options, without...)
	})
}

// TestBeyondRunscShim runs the cases that TestContractOnRunscShim leaves out.
func TestBeyondRunscShim(t *testing.T) {
	onEach(t, containerds(t), func(t *testing.T, release containerdRelease) {
		mustFail(t, "TestContractOnRunscShim/"+release.version, beyondRunscToo, beyondRunscShim)
	})
}

// wrappedRunsc is a program that runs runsc with runscArgs. containerd's options for runc
// can't have further arguments.
func wrappedRunsc(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runsc")
	script := "#!/bin/sh\nexec " + builtRunsc(t) + " " + strings.Join(runscArgs, " ") + " \"$@\"\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}
