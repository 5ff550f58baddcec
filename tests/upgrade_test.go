package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// TestUpgrade replaces runtimed by another build while containers run: one on a terminal,
// one with an exec, one that ends meanwhile. The other build is engine-lite's program
// under runtimed's name, as hack/build makes it. The keeper starts the new runtimed when
// the old one ends. Only the version service shows the difference.
func TestUpgrade(t *testing.T) {
	programs := buildRuntimed(t)
	r := startRuntimed(t, programs, "runc")
	rootfs, groups := busyboxRootfs(t), newGroups(t)
	e := newEngine(t, r.dial(t, "upgrade"))
	onTerminal := groups.place(scriptSpec(rootfs, "stty -echo; while read x; do echo got $x; done; exit 3"))
	onTerminal.Process.Terminal = true
	talks := e.start("talks", onTerminal, libcontainerd.StdioConfig{Stdin: true, Terminal: true})
	reads := e.start("reads", groups.place(scriptSpec(rootfs, "cat; exit 7")), libcontainerd.StdioConfig{Stdin: true})
	_, err := reads.Exec(e.ctx, "exec", scriptProcess("sleep 1000"), libcontainerd.StdioConfig{})
	e.must(err)
	ends := e.start("ends", groups.place(scriptSpec(rootfs, "sleep 1000")), libcontainerd.StdioConfig{})
	pids := []int{talks.Pid(), reads.Pid()}

	next := filepath.Join(t.TempDir(), "runtimed")
	args := append(raceFlag(t), "-ldflags=-X main.version=upgraded", "-o", next,
		"github.com/engine-lite/engine-lite/cmd/engine-lite")
	if out, err := exec.CommandContext(t.Context(), "go",
		append([]string{"build"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	e.must(os.Rename(next, filepath.Join(programs, "runtimed")))
	r.endRuntimed(t)
	e.must(syscall.Kill(ends.Pid(), syscall.SIGKILL))
	e.await("the new build serves", func() bool {
		_, version, err := e.daemon.Version(e.ctx)
		return err == nil && version == "upgraded"
	})

	if got := []int{talks.Pid(), reads.Pid()}; got[0] != pids[0] || got[1] != pids[1] {
		t.Errorf("processes %v, were %v", got, pids)
	}
	if exit := e.wait(ends, libcontainerd.InitProcess); exit.Code != 137 || exit.Unknown != "" {
		t.Errorf("exit %+v", exit)
	}
	e.must(reads.Signal(e.ctx, "exec", syscall.SIGTERM))
	if exit := e.wait(reads, "exec"); exit.Code != 128+15 {
		t.Errorf("exit of the exec %+v", exit)
	}
	e.must(reads.CloseStdin(libcontainerd.InitProcess))
	if exit := e.wait(reads, libcontainerd.InitProcess); exit.Code != 7 {
		t.Errorf("exit %+v", exit)
	}
	e.must(talks.Resize(e.ctx, libcontainerd.InitProcess, 90, 30))
	e.write("talks", "word\n\x04")
	if exit := e.wait(talks, libcontainerd.InitProcess); exit.Code != 3 {
		t.Errorf("exit %+v", exit)
	}
	if out := e.recorder.Output("talks", libcontainerd.InitProcess); !strings.Contains(out, "got word\r\n") {
		t.Errorf("the terminal said %q", out)
	}
}

// write writes to the stdin of a container's init process.
func (e *engine) write(id, text string) {
	e.Helper()
	in, err := os.OpenFile(filepath.Join(e.streams, id, libcontainerd.InitProcess, "stdin"), os.O_WRONLY, 0)
	e.must(err)
	_, err = in.WriteString(text)
	e.must(err)
	e.must(in.Close())
}

// endRuntimed ends the runtimed whose file was replaced.
func (r *privateRuntimed) endRuntimed(t *testing.T) {
	t.Helper()
	pid := childNamed(r.keeper.Process.Pid, "runtimed")
	if pid == 0 {
		t.Fatal("no runtimed runs")
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, "the old build has ended", func() bool { return !alive(pid) })
}
