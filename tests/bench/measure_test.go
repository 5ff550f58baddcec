package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestOwnProcess measures the memory of this process, which it finds by its tag.
func TestOwnProcess(t *testing.T) {
	t.Parallel()
	pss, err := pssOf(os.Getpid())
	if err != nil || pss < 1e6 {
		t.Errorf("%v bytes, %v", pss, err)
	}
	if w, err := usageOf("nosuch"); err == nil {
		t.Errorf("%+v of nobody", w)
	}
}

// TestFeed feeds a reader that writes "ready", reads everything and ends.
func TestFeed(t *testing.T) {
	t.Parallel()
	for greeting, want := range map[string]string{"ready\n": "", "ready\nmore": "4 bytes more",
		"what?\n": `"what?\n"`} {
		outRead, outWrite := io.Pipe()
		inRead, inWrite := io.Pipe()
		took := make(chan int, 1)
		go func() {
			if _, err := io.WriteString(outWrite, greeting); err != nil {
				t.Error(err)
			}
			n, _ := io.Copy(io.Discard, inRead) // an end without an error, in any case
			outWrite.Close()
			took <- int(n)
		}()
		// "ready" is written at once, and may take several reads.
		v, err := feed(bufio.NewReader(outRead), inWrite, inWrite.Close, 3<<20+5)
		inWrite.Close()
		if _, e := io.Copy(io.Discard, outRead); e != nil {
			t.Error(e)
		}
		switch n := <-took; {
		case want == "" && (err != nil || n != 3<<20+5 || v <= 0):
			t.Errorf("%q: %d bytes, %v, %v", greeting, n, v, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v", greeting, err)
		}
	}
}

func TestEach(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	done := map[int]bool{}
	odd := errors.New("odd")
	perSecond, err := each(50, func(i int) error {
		mu.Lock()
		defer mu.Unlock()
		done[i] = true
		if i == 7 {
			return odd
		}
		return nil
	})
	if len(done) != 50 || !errors.Is(err, odd) || perSecond <= 0 {
		t.Errorf("%d done, %v per second, %v", len(done), perSecond, err)
	}
}

// TestProcessEnd watches a process that is killed.
func TestProcessEnd(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/bin/busybox", "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := watchProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	before := time.Now()
	if err := p.kill(); err != nil {
		t.Error(err)
	}
	if end := <-p.ended; end.err != nil || end.at.Before(before) {
		t.Errorf("%+v, killed at %v", end, before)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it ended with 0")
	}
	if _, err := watchProcess(cmd.Process.Pid); err == nil {
		t.Error("watches a process that is gone")
	}
}

func TestMachine(t *testing.T) {
	t.Parallel()
	if busy, all := processorTime(); busy <= 0 || busy > all {
		t.Errorf("%v of %v ticks", busy, all)
	}
	m := thisMachine(t.Context())
	if m.Processors < 1 || m.Processor == "" || m.Memory <= 0 || m.Kernel == "" || m.System == "" ||
		m.BusyBefore < 0 || m.BusyBefore > 1 {
		t.Errorf("%+v", m)
	}
}
