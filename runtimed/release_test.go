package runtimed_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestStartWithoutRuntime starts a container while the OCI runtime's program is away: the
// start does not need it. Afterwards the runtime must know that the container runs: it
// refuses an exec in a created one.
func TestStartWithoutRuntime(t *testing.T) {
	test := func(t *testing.T, name string, wrap ...string) {
		program, err := exec.LookPath(name)
		check(t, err)
		link := filepath.Join(t.TempDir(), name)
		check(t, os.Symlink(program, link))
		d := startDaemon(t, link, wrap...)
		d.record("c", d.spec("c", "exec sleep 1000"))
		check(t, d.create("c", nil, false))
		check(t, os.Remove(link))
		d.start("c", "")
		check(t, os.Symlink(program, link))
		d.addExec("c", "e", "exit 7", nil, false)
		d.start("c", "e")
		equal(t, "exit status of the exec", d.wait("c", "e"), 7)
	}
	t.Run("runc", func(t *testing.T) { test(t, "runc") })
	t.Run("crun", func(t *testing.T) { test(t, "crun", withoutUnified...) })
}
