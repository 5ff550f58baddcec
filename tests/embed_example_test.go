package tests

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/keeper"
)

// exampleEngine is a running examples/embed.
type exampleEngine struct {
	t       *testing.T
	program string
	args    []string
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
}

func (e *exampleEngine) start() {
	e.t.Helper()
	e.command = exec.Command(e.program, e.args...)
	e.command.Stderr = e.t.Output()
	var err error
	if e.in, err = e.command.StdinPipe(); err != nil {
		e.t.Fatal(err)
	}
	out, err := e.command.StdoutPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	e.out = bufio.NewScanner(out)
	e.out.Buffer(nil, 16<<20)
	if err := e.command.Start(); err != nil {
		e.t.Fatal(err)
	}
}

// kill ends the engine, and waits for its end.
func (e *exampleEngine) kill(sig syscall.Signal) {
	e.t.Helper()
	if err := e.command.Process.Signal(sig); err != nil {
		e.t.Fatal(err)
	}
	_ = e.command.Wait() // it was killed
}

func (e *exampleEngine) send(command string) {
	e.t.Helper()
	if _, err := fmt.Fprintln(e.in, command); err != nil {
		e.t.Fatal(err)
	}
}

// ok sends a command and returns the answer.
func (e *exampleEngine) ok(command string) string {
	e.t.Helper()
	e.send(command)
	if !e.out.Scan() {
		e.t.Fatalf("%s: no answer, %v", command, e.out.Err())
	}
	answer, ok := strings.CutPrefix(e.out.Text(), "ok "+command+" ")
	if !ok {
		e.t.Fatalf("%s: %s", command, e.out.Text())
	}
	return answer
}

// TestEmbedExample kills the example of an engine again and again, on both runtime daemons, and the daemon too: it knows
// every exit that it was asked for, and has every line of output once.
func TestEmbedExample(t *testing.T) {
	t.Parallel()
	if text, err := os.ReadFile("../examples/embed/engine.go"); err != nil || strings.Count(string(text), "\n") > 250 {
		t.Errorf("the engine has more than 250 lines, or is not there: %v", err)
	}
	program := buildOutside(t, "../examples/embed", filepath.Join(t.TempDir(), "embed"))
	t.Run("runtimed", func(t *testing.T) {
		runEmbedExample(t, program, nil, func(dir string) {
			hold := dialKeeper(t, dir)
			defer hold.Close()
			is, err := hold.Runtimed(t.Context())
			if err == nil {
				err = syscall.Kill(is.Pid, syscall.SIGKILL)
			}
			if err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("containerd", func(t *testing.T) {
		releases := containerds(t)
		c := startContainerd(t, releases[len(releases)-1])
		// containerd ends the shim of a create whose caller died on its own time.
		t.Cleanup(func() { await(t, "all shims end", func() bool { return len(shimsOf(c.address)) == 0 }) })
		runEmbedExample(t, program, []string{"--containerd", c.address}, func(string) {
			c.kill(t)
			c.start(t)
		})
	})
}

func runEmbedExample(t *testing.T, program string, args []string, killDaemon func(dir string)) {
	dir, err := os.MkdirTemp("", "emb-") // short: a socket's path may have 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeTree(t, dir) })
	e := &exampleEngine{t: t, program: program, args: append(args, dir)}
	groups, rootfs := newGroups(t), busyboxRootfs(t)
	groups.cutOff = len(args) > 0 // on containerd
	e.start()
	t.Cleanup(func() { e.endExample(dir) })
	gate := func(id string) string { return "go-" + filepath.Base(dir) + "-" + id }
	open := func(id string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(rootfs, gate(id)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ids := []string{"c0", "c1", "c2"}
	for round, id := range ids {
		script := fmt.Sprintf("i=0; while [ ! -e /%s ]; do echo line $i; i=$((i+1)); sleep 0.05; done; echo end; exit 7", gate(id))
		file := filepath.Join(dir, id+".json")
		writeSpec(t, file, groups.place(scriptSpec(rootfs, script)))
		e.ok("run " + id + " " + file)
		for n := range 2 {
			time.Sleep(500 * time.Millisecond) // while it writes
			e.kill(syscall.SIGKILL)
			switch {
			case round == 1: // no container ends now: containerd 2.4 forgets exits when it starts
				killDaemon(dir)
			case round == 2 && n == 1:
				open(id) // it ends while there is no engine
			}
			time.Sleep(500 * time.Millisecond) // nobody reads
			e.start()
		}
	}
	open("c0")
	open("c1")
	for _, id := range ids {
		if code := e.ok("wait " + id); code != "7" {
			t.Errorf("%s ended with %s", id, code)
		}
		var text string
		if err := json.Unmarshal([]byte(e.ok("logs "+id)), &text); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(text, "\nend\n"), "\n")
		for i, line := range lines {
			if line != fmt.Sprintf("line %d", i) {
				t.Errorf("%s: after %d lines of %d: %q", id, i, len(lines), line)
				break
			}
		}
	}
	e.kill(syscall.SIGTERM)
	e.start()
	for _, id := range ids { // an exit of an earlier engine
		if code := e.ok("wait " + id); code != "7" {
			t.Errorf("then %s ended with %s", id, code)
		}
	}
	e.killInRun(groups, rootfs, dir)
}

// killInRun kills the engine while it starts a container, and checks that a container is there with its pid, or nothing.
func (e *exampleEngine) killInRun(groups *groups, rootfs, dir string) {
	e.t.Helper()
	for n := range 4 {
		id := fmt.Sprintf("half%d", n)
		file := filepath.Join(dir, id+".json")
		writeSpec(e.t, file, groups.place(scriptSpec(rootfs, "exec sleep 1000")))
		e.send("run " + id + " " + file)
		time.Sleep(time.Duration(n*30) * time.Millisecond)
		e.kill(syscall.SIGKILL)
		e.start()
		e.send("stop " + id)
		if !e.out.Scan() {
			e.t.Fatalf("no answer, %v", e.out.Err())
		}
		if text := e.out.Text(); text != "ok stop "+id+" 137" && !strings.HasPrefix(text, "error stop "+id) {
			e.t.Errorf("after a run that was cut off: %s", text)
		}
		e.ok("rm " + id)
	}
}

// endExample removes the containers, and ends the engine and its keeper.
func (e *exampleEngine) endExample(dir string) {
	for _, id := range []string{"c0", "c1", "c2"} {
		e.ok("rm " + id)
	}
	e.kill(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	hold := dialKeeper(e.t, dir)
	if err := errors.Join(hold.Stop(ctx, keeper.StopOptions{}), hold.Close()); err != nil {
		e.t.Error(err)
	}
	await(e.t, "keeper and runtimed end", func() bool { return len(processesOf(dir)) == 0 })
}

// dialKeeper connects to the example's keeper.
func dialKeeper(t *testing.T, dir string) *keeper.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	hold, err := keeper.Dial(ctx, filepath.Join(dir, "keeper", keeper.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	return hold
}

func writeSpec(t *testing.T, file string, spec *specs.Spec) {
	t.Helper()
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
