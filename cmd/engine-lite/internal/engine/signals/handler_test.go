package signals

import (
	"context"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestNoticed(t *testing.T) {
	const term = "4000" // SIGTERM's bit
	status := func(name, pids, blocked, ignored, caught string) string {
		return "Name:\t" + name + "\nNSpid:\t" + pids + "\nSigBlk:\t" + blocked + "\nSigIgn:\t" + ignored + "\nSigCgt:\t" + caught + "\n"
	}
	for name, tt := range map[string]struct {
		status string
		want   bool
	}{
		"no handler yet":                     {status("top", "812\t1", "0", "0", "0"), false},
		"another signal's handler":           {status("top", "812\t1", "2", "2", "2"), false},
		"a handler":                          {status("top", "812\t1", "0", "0", term), true},
		"ignored":                            {status("top", "812\t1", "0", term, "0"), true},
		"blocked":                            {status("init", "812\t1", term, "0", "0"), true},
		"not the first of its PID namespace": {status("top", "812\t7", "0", "0", "0"), true},
		"the host's PID namespace":           {status("top", "812", "0", "0", "0"), true},
		"nested: the first of the inner one": {status("top", "812\t40\t1", "0", "0", "0"), false},
		"runc's process, which handles all":  {status("runc:[2:INIT]", "812\t1", "0", "0", "ffffffffffffffff"), false},
		"crun's process":                     {status("crun", "812\t1", term, "0", "0"), false},
		"runc's process, in the host's":      {status("runc:[2:INIT]", "812", "0", "0", "0"), false},
		"a mask that nobody understands":     {status("top", "812\t1", "0", "0", "mask"), true},
	} {
		if got := noticed(tt.status, syscall.SIGTERM); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestAwaitHandlerReturns does not wait where nothing is to come: for signals without effect, for old processes, for one
// that is gone and for one outside of PID namespaces.
func TestAwaitHandlerReturns(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	AwaitHandler(ctx, os.Getpid(), syscall.SIGTERM, time.Now().Add(time.Hour))
	AwaitHandler(ctx, os.Getpid(), syscall.SIGTERM, time.Now().Add(-time.Hour))
	AwaitHandler(ctx, 1<<30, syscall.SIGTERM, time.Now())
	cancel()
	AwaitHandler(ctx, os.Getpid(), syscall.SIGTERM, time.Now())
}

// TestTakesSignals waits for signals in sigtimedwait(2), as tini does.
func TestTakesSignals(t *testing.T) {
	tid, ended := make(chan int, 1), make(chan struct{})
	go func() { // ends after a second
		defer close(ended)
		runtime.LockOSThread()
		tid <- unix.Gettid()
		var set unix.Sigset_t
		second := unix.Timespec{Sec: 1}
		_, _, _ = unix.Syscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)), 0, uintptr(unsafe.Pointer(&second)), 8, 0, 0)
	}()
	waiting := <-tid
	for !takesSignals(waiting) {
		select {
		case <-ended:
			t.Fatal("not seen")
		case <-time.After(time.Millisecond):
		}
	}
	<-ended
	if takesSignals(os.Getpid()) || takesSignals(1<<30) {
		t.Error("another process waits too")
	}
}

func FuzzNoticed(f *testing.F) {
	f.Add("Name:\ttop\nNSpid:\t812\t1\nSigCgt:\t4000\n", 15)
	f.Fuzz(func(_ *testing.T, status string, sig int) { noticed(status, syscall.Signal(sig&63+1)) })
}
