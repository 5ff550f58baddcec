package tests

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// rig is an engine-lite with directories of its own. It has the image "busybox".
type rig struct {
	dir    string   // short: a socket's path may have 108 bytes
	wrap   []string // a command that runs the engine's command line with execve(2)
	args   []string // further arguments of the engine
	client *http.Client

	mu     sync.Mutex
	engine *exec.Cmd
	ended  chan struct{} // closed when the engine was reaped
	err    error         // how it ended
}

// lazyRig is the rig that tests share. The first test that asks for it starts it.
type lazyRig struct {
	mu  sync.Mutex
	rig *rig
	err error
}

var shared lazyRig

// sharedArguments is an environment variable with further arguments of the shared engine.
// TestOnContainerd sets it for a run of the tests in another process.
const sharedArguments = "ENGINE_LITE_TEST_ARGUMENTS"

// sharedRig returns the shared engine, for tests that kill no process of it.
func sharedRig(t testing.TB) *rig {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.rig == nil && shared.err == nil {
		r := &rig{args: strings.Fields(os.Getenv(sharedArguments))}
		if shared.err = r.open(); shared.err == nil {
			shared.rig = r
		}
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.rig
}

func (l *lazyRig) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rig == nil {
		return nil
	}
	return l.rig.close()
}

// ownRig starts an engine for one test. The end of the test fails if the engine left
// anything.
func ownRig(t *testing.T, wrap ...string) *rig {
	t.Helper()
	return startRig(t, &rig{wrap: wrap})
}

// startRig starts an engine for one test, as the fields of r say.
func startRig(t *testing.T, r *rig) *rig {
	t.Helper()
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// open starts an engine and imports the image "busybox".
func (r *rig) open() error {
	var err error
	if r.dir, err = os.MkdirTemp("/tmp", "elt"); err != nil {
		return err
	}
	r.client = &http.Client{Timeout: waitLimit, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.socket())
		},
	}}
	err = r.prepare()
	if err == nil {
		err = r.start()
	}
	if err == nil {
		err = r.importBusybox()
	}
	if err != nil {
		return errors.Join(err, r.close())
	}
	return nil
}

func (r *rig) prepare() error {
	for _, dir := range []string{"tmp", "docker"} {
		if err := os.Mkdir(filepath.Join(r.dir, dir), 0o700); err != nil {
			return err
		}
	}
	return r.build()
}

// build puts the programs into the rig's directory: leftovers are found by its path. A
// virtual machine has the programs already.
func (r *rig) build() error {
	if insideMachine() {
		return os.Symlink(guestPrograms, r.file("bin"))
	}
	from, err := programs()
	if err != nil {
		return err
	}
	bin := r.file("bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"engine-lite", "engine-lite-oci", "keeper", "runtimed"} {
		if err := os.Link(filepath.Join(from, name), filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	return nil
}

// programs builds the programs for all rigs, once. The engine has the race detector.
// TestMain removes the directory.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("/tmp", "elp")
	if err != nil {
		return "", err
	}
	built = dir
	for _, args := range [][]string{{"-race", "../cmd/engine-lite"},
		{"../cmd/engine-lite-oci", "../cmd/keeper", "../cmd/runtimed"}} {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		out, err := exec.CommandContext(ctx, "go",
			append([]string{"build", "-o", dir + "/"}, args...)...).CombinedOutput()
		cancel()
		if err != nil {
			return "", fmt.Errorf("go build: %w\n%s", err, out)
		}
	}
	return dir, nil
})

// built is the directory of programs; empty if no test asked for them.
var built string

func (r *rig) socket() string       { return filepath.Join(r.runDir(), "engine.sock") }
func (r *rig) root() string         { return filepath.Join(r.dir, "root") }
func (r *rig) runDir() string       { return filepath.Join(r.dir, "run") }
func (r *rig) host() string         { return "unix://" + r.socket() }
func (r *rig) file(n string) string { return filepath.Join(r.dir, n) }
func (r *rig) logs(n string) string {
	data, _ := os.ReadFile(filepath.Join(r.dir, n))
	return string(data)
}
func (r *rig) keeperPid() int        { return pidIn(filepath.Join(r.runDir(), "keeper", "keeper.pid")) }
func (r *rig) runtimedPid() int      { return childNamed(r.keeperPid(), "runtimed") }
func (r *rig) enginePid() int        { r.mu.Lock(); defer r.mu.Unlock(); return r.engine.Process.Pid }
func (r *rig) wait() <-chan struct{} { r.mu.Lock(); defer r.mu.Unlock(); return r.ended }

// start starts the engine and returns when it answers.
func (r *rig) start() error {
	log, err := os.OpenFile(r.file("engine.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append(slices.Clone(r.wrap), r.file("bin/engine-lite"), "--root", r.root(), "--run", r.runDir())
	args = append(args, r.args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	// Files that the engine leaves in the directory for temporary files are found. A data race
	// ends the engine.
	cmd.Env = append(os.Environ(), "TMPDIR="+r.file("tmp"), "GORACE=halt_on_error=1 exitcode=66")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	r.mu.Lock()
	r.engine, r.ended = cmd, ended
	r.mu.Unlock()
	go func() { // ends with the engine
		err := cmd.Wait()
		r.mu.Lock()
		r.err = err
		r.mu.Unlock()
		close(ended)
	}()
	return r.answers(ended)
}

func (r *rig) answers(ended <-chan struct{}) error {
	gone := false
	ok := holds(func() bool {
		select {
		case <-ended:
			gone = true
			return true
		default:
		}
		response, err := r.client.Get("http://engine/_ping")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	if gone || !ok {
		return fmt.Errorf("the engine does not answer:\n%s", r.logs("engine.log"))
	}
	return nil
}

// kill kills a process of the rig with SIGKILL and waits until the process is gone.
func (r *rig) kill(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
	await(t, fmt.Sprintf("process %d is gone", pid), func() bool { return !alive(pid) })
}

// alive is true if there is a process that has not ended. A zombie has ended when its last
// thread is gone: until then its files and sockets are open.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	if !strings.HasPrefix(rest, "Z") {
		return true
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return err == nil && len(threads) > 1
}

func pidIn(path string) int {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return pid
}

// childNamed is the child of parent with this name; 0 for none.
func childNamed(parent int, name string) int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil || !strings.Contains(string(stat), " ("+name+") ") {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			return pid
		}
	}
	return 0
}
