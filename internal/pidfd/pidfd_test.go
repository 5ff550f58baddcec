package pidfd

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"

	"github.com/engine-lite/engine-lite/internal/procfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestStatus reads how processes ended that are zombies, and that were reaped.
func TestStatus(t *testing.T) {
	for script, want := range map[string]uint32{"exit 0": 0, "exit 7": 7 << 8, "kill -9 $$": 9} {
		cmd := exec.Command("sh", "-c", "read x; "+script)
		stdin, err := cmd.StdinPipe()
		must(t, err)
		must(t, cmd.Start())
		start, err := procfs.StartTime(cmd.Process.Pid)
		must(t, err)
		p := Process{Pid: cmd.Process.Pid, Start: start}
		pidfd, err := p.Open()
		must(t, err)
		if Ended(pidfd) {
			t.Error("ended before its time")
		}
		must(t, stdin.Close())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		must(t, Await(ctx, pidfd))
		cancel()
		zombie, ok := p.Status(pidfd)
		if !ok || zombie != want {
			t.Errorf("%s: zombie: %#x, %v", script, zombie, ok)
		}
		_ = cmd.Wait()
		if status, ok := p.Status(pidfd); !Ended(pidfd) || !ok || status != want {
			t.Errorf("%s: reaped: %#x, %v", script, status, ok)
		}
		must(t, pidfd.Close())
		if _, err := p.Open(); !errdefs.IsNotFound(err) {
			t.Errorf("%s: gone: %v", script, err)
		}
	}
	self := Process{Pid: os.Getpid(), Start: 1} // as if the pid had come round again
	if _, err := self.Open(); !errdefs.IsNotFound(err) {
		t.Errorf("another process of that pid: %v", err)
	}
}

// TestAwaitEnds ends a wait for a process that lives.
func TestAwaitEnds(t *testing.T) {
	start, err := procfs.StartTime(os.Getpid())
	must(t, err)
	pidfd, err := Process{Pid: os.Getpid(), Start: start}.Open()
	must(t, err)
	defer pidfd.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Await(ctx, pidfd); !errors.Is(err, context.Canceled) {
		t.Errorf("await: %v", err)
	}
}

func TestZombieStatus(t *testing.T) {
	line := "12 (a) b) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 999 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 1792\n"
	for _, tt := range []struct {
		stat  string
		start uint64
		want  uint32
		ok    bool
	}{{line, 999, 1792, true}, {line, 998, 0, false}, {"12 (a) Z 1 2", 999, 0, false}, {"", 0, 0, false}} {
		if got, ok := zombieStatus([]byte(tt.stat), tt.start); got != tt.want || ok != tt.ok {
			t.Errorf("%.20q: %d, %v", tt.stat, got, ok)
		}
	}
}

// FuzzZombie has only a zombie's status read.
func FuzzZombie(f *testing.F) {
	f.Add([]byte("42 (a Z) 1) Z 7 1 1 0 -1 4228356 84 0 0 0 0 0 0 0 20 0 1 0 34567 0 0 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 1792\n"), uint64(34567))
	f.Add([]byte(") Z"), uint64(0))
	f.Fuzz(func(t *testing.T, stat []byte, start uint64) {
		if _, ok := zombieStatus(stat, start); ok && !bytes.Contains(stat, []byte("Z")) {
			t.Fatalf("%q is no zombie's", stat)
		}
	})
}
