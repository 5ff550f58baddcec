package stacks

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestOnSignal asks twice, with a goroutine more the second time.
func TestOnSignal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stacks")
	stop := OnSignal(path, func(err error) { t.Error(err) })
	ask := func() []byte {
		if err := unix.Kill(os.Getpid(), unix.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			data, err := os.ReadFile(path)
			if err == nil {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				return data
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	const mine = "stacks.linger"
	if first := ask(); !bytes.HasPrefix(first, []byte("goroutine ")) || bytes.Contains(first, []byte(mine)) {
		t.Errorf("at first:\n%s", first)
	}
	begun, end, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() { linger(begun, end); close(ended) }()
	<-begun
	if second := ask(); !bytes.Contains(second, []byte(mine)) {
		t.Errorf("the second time:\n%s", second)
	}
	close(end)
	<-ended
	stop()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end: %v", err)
	}
}

func linger(begun chan<- struct{}, end <-chan struct{}) { close(begun); <-end }

// TestGivesMemoryBack makes garbage, asks, and looks at the memory of this process.
func TestGivesMemoryBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stacks")
	defer OnSignal(path, func(err error) { t.Error(err) })()
	const garbage = 64 << 20
	b := make([]byte, garbage)
	for i := range b {
		b[i] = 1
	}
	before := anonymousMemory(t)
	runtime.KeepAlive(b)
	if err := unix.Kill(os.Getpid(), unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if after := anonymousMemory(t); after > before-garbage/4 { // with the race detector, whose own memory grows
		t.Errorf("%d bytes, and %d after the signal", before, after)
	}
}

// anonymousMemory is this process's, in bytes: proc_pid_smaps(5).
func anonymousMemory(t *testing.T) int {
	data, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "Pss_Anon:"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no Pss_Anon")
	return 0
}

// TestReportsFailure writes to a directory that does not exist.
func TestReportsFailure(t *testing.T) {
	failures := make(chan error, 1)
	stop := OnSignal(filepath.Join(t.TempDir(), "none", "stacks"), func(err error) { failures <- err })
	defer stop()
	if err := unix.Kill(os.Getpid(), unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-failures:
		if !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("nothing was said")
	}
}
