package tests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/console"
)

// terminal is a command that has a terminal of its own.
type terminal struct {
	*running
	master console.Console
	read   chan struct{} // closed when the terminal is closed and all output was read
}

// terminal starts a command on a terminal of 25 lines and 81 columns.
func (d docker) terminal(t testing.TB, args ...string) *terminal {
	t.Helper()
	master, path, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{master: master}
	term.resize(t, 25, 81)
	slave, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	ctx, cancel := context.WithCancel(context.Background())
	term.running = &running{what: fmt.Sprintf("docker %q", args), cmd: d.command(ctx, args...),
		ended: make(chan struct{})}
	term.cmd.Stdin, term.cmd.Stdout, term.cmd.Stderr = slave, slave, slave
	term.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	term.read = make(chan struct{})
	t.Cleanup(func() { // after the command's end
		<-term.read
		if err := master.Close(); err != nil {
			t.Error(err)
		}
	})
	term.start(t, cancel)
	go func() { // ends with the last process that has the terminal: EIO
		defer close(term.read)
		if _, err := io.Copy(&term.stdout, master); err != nil && !errors.Is(err, syscall.EIO) {
			t.Error(err)
		}
	}()
	return term
}

// wait waits until the command has ended and all of its output was read.
func (term *terminal) wait(t testing.TB) result {
	t.Helper()
	r := term.running.wait(t)
	<-term.read
	r.stdout = term.stdout.String()
	return r
}

func (term *terminal) resize(t testing.TB, height, width uint16) {
	t.Helper()
	if err := term.master.Resize(console.WinSize{Height: height, Width: width}); err != nil {
		t.Fatal(err)
	}
}

// changeSize resizes the terminal until the shell in it sees the new size. A client that
// does not listen for SIGWINCH yet misses the change, so the change is repeated.
func (term *terminal) changeSize(t testing.TB, height, width uint16) {
	t.Helper()
	await(t, "the new size", func() bool {
		term.resize(t, height-1, width)
		term.resize(t, height, width)
		term.send(t, "stty size\n")
		return strings.Contains(term.stdout.String(), fmt.Sprintf("%d %d\r\n", height, width))
	})
}

func (term *terminal) send(t testing.TB, keys string) {
	t.Helper()
	if _, err := io.WriteString(term.master, keys); err != nil {
		t.Fatal(err)
	}
}

// TestTerminal types to a shell, changes the size of the window and ends the shell.
func TestTerminal(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.name(t)
		term := d.terminal(t, alone("-it", "--name", name, "busybox", "sh")...)
		term.send(t, "echo t$((1+1))y; tty; stty size\n")
		term.await(t, "t2y\r\n")
		term.await(t, "/dev/pts/0\r\n")
		await(t, "the first size", func() bool {
			term.send(t, "stty size\n")
			return strings.Contains(term.stdout.String(), "25 81\r\n")
		})
		term.changeSize(t, 33, 77)
		term.send(t, "\x03exit 9\n")
		if r := term.wait(t); r.code != 9 {
			t.Errorf("exit code %d:\n%s", r.code, r.stdout)
		}
	})
}

// TestTerminalDetach detaches from a terminal with the detach keys, twice. The container
// runs on.
func TestTerminalDetach(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.name(t)
		term := d.terminal(t, "run", "-it", "--network", "none", "--name", name, "busybox", "sh")
		term.send(t, "echo u$((1+1))p\n")
		term.await(t, "u2p\r\n")
		term.send(t, "\x10\x11") // ctrl-p ctrl-q
		term.wait(t)
		if got := d.format(t, name, "{{.State.Status}}"); got != "running" {
			t.Fatalf("after the detach: %s", got)
		}
		term = d.terminal(t, "attach", "--detach-keys", "ctrl-x,z", name)
		await(t, "the shell answers", func() bool {
			term.send(t, "echo v$((1+1))p\n")
			return strings.Contains(term.stdout.String(), "v2p\r\n")
		})
		term.send(t, "\x18z")
		term.wait(t)
		if got := d.format(t, name, "{{.State.Status}}"); got != "running" {
			t.Errorf("after the second detach: %s", got)
		}
		if out := d.ok(t, "logs", name); !strings.Contains(out, "u2p\r\n") || !strings.Contains(out, "v2p\r\n") {
			t.Errorf("docker logs: %q", out)
		}
		d.ok(t, "top", name)
		out := d.ok(t, "events", "--since", "0", "--until", fmt.Sprint(time.Now().Unix()+1), "--filter",
			"container="+name,
			"--filter", "event=resize", "--filter", "event=top", "--format",
			"{{.Action}} {{.Actor.Attributes.height}} {{.Actor.Attributes.width}}")
		if !strings.HasPrefix(out, "resize 25 81\n") || !strings.HasSuffix(out, "\ntop <no value> <no value>") {
			t.Errorf("docker events:\n%s", out)
		}
	})
}

func TestExecTerminal(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.sleeper(t)
		term := d.terminal(t, "exec", "-it", name, "sh")
		term.send(t, "echo t$((1+1))y; tty\n")
		term.await(t, "t2y\r\n")
		term.await(t, "/dev/pts/")
		term.changeSize(t, 44, 66)
		term.send(t, "exit 11\n")
		if r := term.wait(t); r.code != 11 {
			t.Errorf("exit code %d:\n%s", r.code, r.stdout)
		}
		// Older clients send the size after the start.
		term = d.terminal(t, "exec", "-t", name, "sh", "-c",
			`until [ "$(stty size)" = "25 81" ]; do sleep 0.05; done; stty size`)
		if r := term.wait(t); r.code != 0 {
			t.Errorf("docker exec -t: exit code %d:\n%s", r.code, r.stdout)
		}
		term.await(t, "25 81\r")
	})
}
