package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/fdpass"
	"github.com/engine-lite/engine-lite/keeper/internal/wire"
)

// daemonRole stands for a runtimed that serves: DIR, and any words for its log. A signal ends it.
func daemonRole(args []string) error {
	fmt.Fprintln(os.Stderr, args[1:])
	client, err := Dial(context.Background(), filepath.Join(args[0], SocketName))
	if err != nil {
		return err
	}
	return client.Exits(context.Background(), func(Exit) error { return nil })
}

// awaitServing waits for a runtimed that serves and is not the process old.
func awaitServing(t *testing.T, c *Client, old int) (r Runtimed) {
	t.Helper()
	eventually(t, "runtimed serves", func() bool {
		var err error
		if r, err = c.Runtimed(t.Context()); err != nil {
			t.Fatal(err)
		}
		return r.Serving && r.Pid != old
	})
	return r
}

// TestRuntimedEnd kills runtimed: the keeper tells how it ended and what it said, and has the next one.
func TestRuntimedEnd(t *testing.T) {
	dir := t.TempDir()
	script := `head -c 100000 /dev/zero | tr '\0' x; echo; echo the last; exec "$@"`
	k := startKeeper(t, dir, "/bin/sh", "-c", script, "sh", self(t), "as-daemon", dir, "words")
	c := k.dial(t)
	first := awaitServing(t, c, 0)
	if first.Last != nil {
		t.Errorf("ended before the start: %v", first.Last)
	}
	if err := unix.Kill(first.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	next := awaitServing(t, c, first.Pid)
	end := next.Last
	if end == nil || end.Code != 137 || end.Reason != "signal killed" || time.Since(end.Time) > time.Minute {
		t.Fatalf("end %+v", end)
	}
	if n := len(end.Words); n < 3000 || n > wire.MaxWords || !strings.HasSuffix(end.Words, "the last\n[words]") {
		t.Errorf("%d bytes of words, which end with %q", n, end.Words[max(0, n-20):])
	}
	// An engine asks for exits too, and is no runtimed.
	enough := errors.New("enough")
	if err := c.Exits(t.Context(), func(Exit) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
	if r, err := c.Runtimed(t.Context()); err != nil || !r.Serving {
		t.Errorf("after an engine has asked for exits: %+v, %v", r, err)
	}
	before := k.fds(t)
	for range 3 {
		if err := unix.Kill(next.Pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		next = awaitServing(t, c, next.Pid)
	}
	if after := k.fds(t); after != before {
		t.Errorf("%d descriptors, not %d", after, before)
	}
}

// TestReplaceRuntimed upgrades runtimed, and keeps the old one where the new one fails.
func TestReplaceRuntimed(t *testing.T) {
	dir := t.TempDir()
	old := []string{self(t), "as-daemon", dir, "old"}
	k := startKeeper(t, dir, old...)
	c := k.dial(t)
	first := awaitServing(t, c, 0)
	long := strings.Repeat("x", wire.MaxRequest)
	for _, command := range [][]string{nil, {"relative"}, {"/bin/\xff"}, {"/bin/sh", long}} {
		if err := c.ReplaceRuntimed(t.Context(), command); !errdefs.IsInvalidArgument(err) {
			t.Errorf("replace with %.20q: %v", command, err)
		}
	}
	err := c.ReplaceRuntimed(t.Context(), []string{"/no/such/file"})
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("replace with what is missing: %v", err)
	}
	if r := awaitServing(t, c, 0); r.Pid != first.Pid {
		t.Error("what is missing has ended the old one")
	}
	for words, script := range map[string]string{
		"exit status 3": "exit 3", "exec format": "", "bad flags": "echo bad flags; exit 2",
	} {
		command := []string{"/bin/sh", "-c", script}
		if script == "" {
			command = []string{t.TempDir() + "/program"}
			if err := os.WriteFile(command[0], []byte("no program"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		err := c.ReplaceRuntimed(t.Context(), command)
		if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), words) {
			t.Errorf("replace with one that fails: %v, without %q", err, words)
		}
		if r := awaitServing(t, c, 0); !slices.Equal(r.Command, old) {
			t.Errorf("the old one is now %q", r.Command)
		}
	}
	first = awaitServing(t, c, 0)
	next := []string{self(t), "as-daemon", dir, "new"}
	if err := c.ReplaceRuntimed(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	r, err := c.Runtimed(t.Context())
	if err != nil || !r.Serving || r.Pid == first.Pid || !slices.Equal(r.Command, next) || r.Last.Code != 128+15 {
		t.Errorf("after the upgrade: %+v, %v", r, err)
	}
	// The new one is the one that is started again.
	if err := unix.Kill(r.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if r := awaitServing(t, c, r.Pid); !slices.Equal(r.Command, next) {
		t.Errorf("the next one is %q", r.Command)
	}
}

// TestReplaceAbandoned ends the one who asks for another runtimed, and then the keeper, while the new one comes up.
func TestReplaceAbandoned(t *testing.T) {
	dir := t.TempDir()
	k := startKeeper(t, dir, self(t), "as-daemon", dir)
	c := k.dial(t)
	first := awaitServing(t, c, 0)
	slow := []string{"/bin/sh", "-c", `read x < "$1"; shift; exec "$@"`, "sh"}
	path, gate := makeFIFO(t, "gate")
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		result <- c.ReplaceRuntimed(ctx, append(slow, path, self(t), "as-daemon", dir, "new"))
	}()
	eventually(t, "the old one has ended", func() bool {
		r, err := c.Runtimed(t.Context())
		return err == nil && r.Pid != 0 && r.Pid != first.Pid
	})
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("abandoned: %v", err)
	}
	writeString(t, gate, "go\n")
	if r := awaitServing(t, c, 0); r.Command[0] != "/bin/sh" {
		t.Errorf("the new one is not kept: %+v", r)
	}
	go func() {
		result <- c.ReplaceRuntimed(t.Context(), append(slow, path, "/bin/true"))
	}()
	eventually(t, "the next one has started", func() bool {
		r, err := c.Runtimed(t.Context())
		return err == nil && r.Pid != 0 && !r.Serving
	})
	k.end(t)
	if err := <-result; !errdefs.IsUnavailable(err) {
		t.Errorf("the keeper ended: %v", err)
	}
}

// TestStop stops keepers that have something to keep and one that has nothing.
func TestStop(t *testing.T) {
	k := startWithRuntimed(t, t.TempDir())
	c := k.dial(t)
	_, fifo := makeFIFO(t, "stdout")
	if err := c.Hold(t.Context(), "c1/init", Stdout, fifo, nil, HoldOptions{}); err != nil {
		t.Fatal(err)
	}
	err := c.Stop(t.Context(), StopOptions{})
	if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), `stdout of "c1/init"`) {
		t.Errorf("stop with a stream: %v", err)
	}
	if err := c.Release(t.Context(), "c1/init", ""); err != nil {
		t.Fatal(err)
	}
	barrier, open := makeBarrier(t)
	all := k.spawn(t, 1, barrier, `read x; exit 0`)
	err = c.Stop(t.Context(), StopOptions{})
	if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "parent of process") {
		t.Errorf("stop with a child: %v", err)
	}
	open.Close()
	waitExits(t, c, all)
	eventually(t, "the child is reaped, and runtimed is the only one", func() bool {
		return c.Stop(t.Context(), StopOptions{}) == nil
	})
	if err := k.cmd.Wait(); err != nil {
		t.Errorf("the keeper ended with %v", err)
	}
}

// TestStopForced stops a keeper with a stream and a child: the child runs on.
func TestStopForced(t *testing.T) {
	k := startWithRuntimed(t, t.TempDir())
	c := k.dial(t)
	barrier, open := makeBarrier(t)
	all := k.spawn(t, 1, barrier, `read x; exit 0`)
	if err := c.Hold(t.Context(), "c1/init", Stdin, open, nil, HoldOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(t.Context(), StopOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if err := k.cmd.Wait(); err != nil {
		t.Errorf("the keeper ended with %v", err)
	}
	if start, err := StartTime(all[0].Pid); err != nil || start != all[0].Start {
		t.Errorf("the child has ended with the keeper: %v", err)
	}
	open.Close()
	eventually(t, "the child ends", func() bool {
		start, err := StartTime(all[0].Pid)
		return err != nil || start != all[0].Start
	})
}

// TestEarlierKeeper asks a keeper that doesn't know the later operations.
func TestEarlierKeeper(t *testing.T) {
	path := fakeKeeper(t, func(r wire.Request, conn *net.UnixConn) error {
		answer := wire.Answer{ID: r.ID}
		if r.Op != wire.OpHello {
			answer = wire.Answer{ID: r.ID, Code: "invalid-argument", Error: `cannot do "` + r.Op + `": invalid argument`}
		}
		data, err := json.Marshal(answer)
		return errors.Join(err, fdpass.Write(conn, data, nil))
	})
	opts := Options{Dir: strings.TrimSuffix(path, "/"+SocketName), Runtimed: []string{"/bin/false"}}
	c, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatalf("start beside an earlier keeper: %v", err)
	}
	defer c.Close()
	_, err = c.Runtimed(t.Context())
	for what, err := range map[string]error{
		"tell of runtimed": err,
		"stop":             c.Stop(t.Context(), StopOptions{}),
		"replace runtimed": c.ReplaceRuntimed(t.Context(), []string{"/bin/true"}),
	} {
		if !errdefs.IsNotImplemented(err) || !strings.Contains(err.Error(), "earlier release and cannot "+what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
