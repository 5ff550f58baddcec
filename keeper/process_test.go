package keeper

import (
	"os"
	"os/exec"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// TestHoldProcess has the keeper hold a process that is not its child, and asks the pidfd how it ended after it was
// reaped, when the one who gave it has long gone.
func TestHoldProcess(t *testing.T) {
	k := startKeeper(t, t.TempDir())
	cmd := exec.Command("sh", "-c", "read x; exit 7")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	giver := k.dial(t)
	if err := giver.Hold(t.Context(), "oci/r1", Process, pidfd, nil, HoldOptions{}); err != nil {
		t.Fatal(err)
	}
	pidfd.Close()
	giver.Close()
	stdin.Close()
	_ = cmd.Wait()

	c := k.dial(t)
	taken, raw, err := c.Take(t.Context(), "oci/r1", Process)
	if err != nil || raw != nil {
		t.Fatalf("take: %v, %v", raw, err)
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := unix.IoctlPidfdInfo(int(taken.Fd()), &info); err != nil || info.Exit_code != 7<<8 {
		t.Errorf("exit status %#x, %v", info.Exit_code, err)
	}
	taken.Close()
	want := Held{Key: "oci/r1", Name: Process, Taken: true}
	if held, err := c.List(t.Context()); err != nil || len(held) != 1 || held[0] != want {
		t.Errorf("list: %+v, %v", held, err)
	}
	if err := c.Release(t.Context(), "oci/r1", ""); err != nil {
		t.Error(err)
	}
	if _, _, err := c.Take(t.Context(), "oci/r1", Process); !errdefs.IsNotFound(err) {
		t.Errorf("take what was released: %v", err)
	}
}

// TestHoldNoProcess refuses as a process what is none.
func TestHoldNoProcess(t *testing.T) {
	c := startKeeper(t, t.TempDir()).dial(t)
	_, fifo := makeFIFO(t, "stdout")
	file := makeRaw(t)
	for _, hold := range []struct{ stream, raw *os.File }{{fifo, nil}, {file, nil}, {fifo, file}} {
		err := c.Hold(t.Context(), "oci/r1", Process, hold.stream, hold.raw, HoldOptions{})
		if !errdefs.IsInvalidArgument(err) {
			t.Errorf("hold %s: %v", hold.stream.Name(), err)
		}
	}
}
