package keeper

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/keeper/internal/wire"
)

// waitExits reads exits until all of the given processes have ended.
func waitExits(t *testing.T, c *Client, all []spawned) map[spawned]Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	wanted := make(map[spawned]bool)
	for _, s := range all {
		wanted[s] = true
	}
	got := make(map[spawned]Exit)
	done := errors.New("done")
	var last uint64
	err := c.Exits(ctx, func(e Exit) error {
		if e.Seq <= last {
			t.Errorf("exit %d after %d", e.Seq, last)
		}
		last = e.Seq
		s := spawned{e.Pid, e.StartTime}
		if _, ok := got[s]; ok {
			t.Errorf("exit of %v twice", s)
		}
		if wanted[s] {
			got[s] = e
		}
		if len(got) == len(all) {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Fatalf("exits ended after %d of %d: %v", len(got), len(all), err)
	}
	return got
}

func TestAskedAfterTheFact(t *testing.T) {
	k := startWithRuntimed(t, t.TempDir())
	c := k.dial(t)
	barrier, open := makeBarrier(t)
	all := k.spawn(t, 2, barrier, `read x; [ "$1" = 0 ] && exit 7; kill -9 $$`)
	if _, found, err := c.Lookup(t.Context(), all[0].Pid, all[0].Start); found || err != nil {
		t.Fatalf("exit of a living process: %v, %v", found, err)
	}
	open.Close()
	waitExits(t, c, all)
	for i, code := range []int{7, 137} {
		exit, found, err := c.Lookup(t.Context(), all[i].Pid, all[i].Start)
		if err != nil || !found || exit.Code() != code {
			t.Errorf("exit of child %d: %+v, %v, %v, want code %d", i, exit, found, err, code)
		}
		if age := time.Since(exit.Time); age < 0 || age > time.Minute {
			t.Errorf("exit %v ago", age)
		}
	}
	if _, found, err := c.Lookup(t.Context(), all[0].Pid, all[0].Start+1); found || err != nil {
		t.Errorf("exit of another process with the same pid: %v, %v", found, err)
	}
	for range 2 {
		if err := c.Forget(t.Context(), all[0].Pid, all[0].Start); err != nil {
			t.Fatal(err)
		}
	}
	if _, found, err := c.Lookup(t.Context(), all[0].Pid, all[0].Start); found || err != nil {
		t.Errorf("exit after it was forgotten: %v, %v", found, err)
	}
}

func TestThousandChildrenAtOnce(t *testing.T) {
	k := startWithRuntimed(t, t.TempDir())
	idle := k.dial(t)
	// One subscriber that never reads, so that reaping has to do without it.
	deaf, err := wire.Dial(t.Context(), k.socket())
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	for _, text := range []string{`{"op":"hello","protocol":1}`, `{"op":"exits"}`} {
		writeString(t, deaf, text)
	}
	barrier, open := makeBarrier(t)
	all := k.spawn(t, 1000, barrier, `read x; exit $(($1 % 256))`)
	open.Close()
	got := waitExits(t, idle, all)
	for i, s := range all {
		if code := got[s].Code(); code != i%256 {
			t.Errorf("child %d ended with %d", i, code)
		}
	}
	eventually(t, "no zombie is left", func() bool {
		for _, s := range all {
			if now, err := StartTime(s.Pid); err == nil && now == s.Start {
				return false
			}
		}
		return true
	})
	// The next keeper knows them all.
	k.kill(t)
	next := startKeeper(t, k.dir)
	got = waitExits(t, next.dial(t), all)
	for i, s := range all {
		if code := got[s].Code(); code != i%256 {
			t.Errorf("child %d ended with %d for the next keeper", i, code)
		}
	}
}

func TestKeeperKilled(t *testing.T) {
	k := startWithRuntimed(t, t.TempDir())
	c := k.dial(t)
	barrier, open := makeBarrier(t)
	all := k.spawn(t, 3, barrier, `read x; exit 3`)
	open.Close()
	before := waitExits(t, c, all)
	if err := c.Forget(t.Context(), all[2].Pid, all[2].Start); err != nil {
		t.Fatal(err)
	}
	path, fifo := makeFIFO(t, "stdout")
	if err := c.Hold(t.Context(), "c1/init", Stdout, fifo, nil, HoldOptions{}); err != nil {
		t.Fatal(err)
	}
	fifo.Close()
	writer, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("no reader on a held FIFO: %v", err)
	}
	writer.Close()

	k.kill(t)
	<-c.Done()
	if err := c.Forget(t.Context(), 1, 1); !errdefs.IsUnavailable(err) {
		t.Errorf("call to a dead keeper: %v", err)
	}
	if _, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0); !errors.Is(err, unix.ENXIO) {
		t.Errorf("FIFO of a dead keeper: %v", err)
	}

	next := startKeeper(t, k.dir)
	c = next.dial(t)
	for i, s := range all {
		exit, found, err := c.Lookup(t.Context(), s.Pid, s.Start)
		if err != nil || found != (i != 2) || found && !exit.Time.Equal(before[s].Time) {
			t.Errorf("exit %d in the next keeper: %+v, %v, %v", i, exit, found, err)
		}
	}
	if held, err := c.List(t.Context()); len(held) > 0 || err != nil {
		t.Errorf("the next keeper holds %v, %v", held, err)
	}
}

func TestSecondKeeperRefused(t *testing.T) {
	k := startKeeper(t, t.TempDir())
	err := Run(t.Context(), Config{Dir: k.dir}, func() { t.Error("a second keeper was ready") })
	if !errdefs.IsFailedPrecondition(err) {
		t.Errorf("second keeper: %v", err)
	}
	k.dial(t) // the first one has kept its socket
}

func TestRuntimedRestarted(t *testing.T) {
	k := startWithRuntimed(t, t.TempDir())
	c := k.dial(t)
	for range 3 {
		pid := k.runtimedPid(t)
		start, err := StartTime(pid)
		if err != nil {
			t.Fatal(err)
		}
		if session, err := unix.Getsid(pid); err != nil || session != pid {
			t.Errorf("runtimed %d is in session %d, %v", pid, session, err)
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		exit := waitExits(t, c, []spawned{{pid, start}})[spawned{pid, start}]
		if exit.Code() != 137 {
			t.Errorf("runtimed ended with %d", exit.Code())
		}
		eventually(t, "another runtimed answers", func() bool {
			all, err := k.ask([]string{})
			return err == nil && all[0].Pid != pid
		})
	}
}

func TestTermEndsIt(t *testing.T) {
	k := startWithRuntimed(t, t.TempDir())
	c := k.dial(t)
	pid := k.runtimedPid(t)
	barrier, open := makeBarrier(t)
	all := k.spawn(t, 1, barrier, `read x`)
	k.end(t)
	<-c.Done()
	if _, err := StartTime(pid); !errdefs.IsNotFound(err) {
		t.Errorf("runtimed after the keeper's end: %v", err)
	}
	if now, err := StartTime(all[0].Pid); err != nil || now != all[0].Start {
		t.Errorf("a container ended with the keeper: %v", err)
	}
	for _, name := range []string{SocketName, "keeper.pid"} {
		if _, err := os.Stat(filepath.Join(k.dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s after the keeper's end: %v", name, err)
		}
	}
	open.Close()
	eventually(t, "the container ends", func() bool {
		now, err := StartTime(all[0].Pid)
		return err != nil || now != all[0].Start || zombie(all[0].Pid)
	})
}

// zombie tells whether a process has ended; who its parent is now is not ours to say.
func zombie(pid int) bool { return len(procFile(pid, "cmdline")) == 0 }

func TestRuntimedMissing(t *testing.T) {
	dir := t.TempDir()
	k := startKeeper(t, dir, filepath.Join(dir, "nothing"))
	c := k.dial(t)
	if _, err := c.List(t.Context()); err != nil {
		t.Error(err)
	}
	err := Run(t.Context(), Config{Dir: t.TempDir(), Runtimed: []string{"sh"}}, func() {})
	if !errdefs.IsInvalidArgument(err) {
		t.Errorf("keeper with a relative runtimed: %v", err)
	}
}
