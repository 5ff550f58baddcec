package tests

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// second runs a program that must be refused with a reason.
func (r *rig) second(t *testing.T, why, program string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), r.file("bin/"+program), args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), why) {
		t.Errorf("%s %q: %v, want %q\n%s", program, args, err, why, out)
	}
}

// TestSecondInstances starts a second engine, keeper and runtimed with the directories and
// sockets of the first ones. The second ones are refused, and the first ones run on.
func TestSecondInstances(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	m := r.runScript(t, "exec sleep 1000", nil)
	engine, runtimed, keeper := r.enginePid(), r.runtimedPid(), r.keeperPid()
	other := func(name string) string { return filepath.Join(r.dir, "tmp", name) }
	dirs := []string{"--root", other("root"), "--run", other("run")}
	inUse := "another engine-lite uses "

	r.second(t, inUse+r.root(), "engine-lite", "--root", r.root(), "--run", r.runDir())
	r.second(t, inUse+r.root(), "engine-lite", "--root", r.root(), "--run", other("run"))
	r.second(t, inUse+r.runDir(), "engine-lite", "--root", other("root"), "--run", r.runDir())
	r.second(t, "somebody serves "+r.socket(), "engine-lite", append(dirs, "--socket", r.socket())...)
	precious := other("file")
	if err := os.WriteFile(precious, []byte("words"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.second(t, precious+" is there and is no socket", "engine-lite", append(dirs, "--socket", precious)...)
	if text, err := os.ReadFile(precious); string(text) != "words" {
		t.Errorf("the file: %q, %v", text, err)
	}
	r.second(t, "another keeper has the directory "+r.runDir()+"/keeper", "keeper", "--dir", r.runDir()+"/keeper")
	asRuntimed := func(root, address string) []string {
		return []string{"--root", root, "--address", address, "--keeper", r.runDir() + "/keeper/keeper.sock",
			"--runtime", "runc"}
	}
	r.second(t, "another runtimed serves "+r.runDir()+"/runtimed", "runtimed",
		asRuntimed(r.runDir()+"/runtimed", other("s"))...)
	r.second(t, fmt.Sprintf("keeper %d is not what started this process", keeper), "runtimed",
		asRuntimed(other("runtimed"), other("s"))...)

	r.endSecondKeeper(t, pidIn(other("run/keeper/keeper.pid")))
	for _, name := range []string{"root", "run", "runtimed", "file"} {
		if err := os.RemoveAll(other(name)); err != nil {
			t.Error(err)
		}
	}
	if got := [3]int{r.enginePid(), r.runtimedPid(), r.keeperPid()}; got != [3]int{engine, runtimed, keeper} ||
		!alive(engine) {
		t.Errorf("processes %v, were %v", got, [3]int{engine, runtimed, keeper})
	}
	if s := r.state(t, m.id).State; s.Pid != m.pid || !s.Running {
		t.Errorf("container %+v", s)
	}
	r.do(t, http.MethodPost, "/containers/"+m.id+"/kill", nil, nil)
}

// endSecondKeeper ends the keeper of a second engine that could use everything but the
// socket.
func (r *rig) endSecondKeeper(t *testing.T, pid int) {
	t.Helper()
	if pid == 0 {
		t.Fatal("the engine without a socket has no keeper")
	}
	if err := terminate("second keeper", pid, func() bool { return !alive(pid) }); err != nil {
		t.Error(err)
	}
}

// TestStaleSockets kills engine, keeper and runtimed. The next ones start in spite of the
// old sockets, locks and pid files.
func TestStaleSockets(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	m := r.runScript(t, "exec sleep 1000", nil)
	keeper := r.keeperPid()
	old := []int{r.runtimedPid(), r.enginePid(), keeper}
	// it would start the next runtimed, and its end would end the others in peace
	if err := syscall.Kill(keeper, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for _, pid := range old {
		r.kill(t, pid)
	}
	for _, path := range []string{r.socket(), r.runDir() + "/runtimed.sock", r.runDir() + "/keeper/keeper.sock"} {
		if info, err := os.Stat(path); err != nil || info.Mode().Type() != os.ModeSocket {
			t.Errorf("no stale socket at %s: %v", path, err)
		}
		if conn, err := net.Dial("unix", path); err == nil {
			conn.Close()
			t.Errorf("something answers at %s", path)
		}
	}
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	if s := r.state(t, m.id).State; s.Pid != m.pid || !s.Running {
		t.Errorf("container %+v", s)
	}
	r.do(t, http.MethodPost, "/containers/"+m.id+"/kill", nil, nil)
	var end struct{ StatusCode int }
	r.do(t, http.MethodPost, "/containers/"+m.id+"/wait", nil, &end)
	if want := codeOfOrphan(t, 137); end.StatusCode != want {
		t.Errorf("exit code %d, want %d", end.StatusCode, want)
	}
}

// codeOfOrphan is Docker's exit code of a process whose keeper was killed: 255 if the
// kernel does not keep the exit status.
func codeOfOrphan(t *testing.T, code int) int {
	t.Helper()
	if kernelKeepsExits(t) {
		return code
	}
	return 255
}
