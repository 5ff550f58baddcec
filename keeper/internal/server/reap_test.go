package server

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestWaitStatus(t *testing.T) {
	for _, test := range []struct {
		code, status int32
		want         int
	}{
		{childExited, 7, 7}, {childExited, 255, 255},
		{2, int32(unix.SIGKILL), 137}, {childDumped, int32(unix.SIGABRT), 134},
	} {
		status := childInfo{code: test.code, status: test.status}.waitStatus()
		got := unix.WaitStatus(status).ExitStatus()
		if unix.WaitStatus(status).Signaled() {
			got = 128 + int(unix.WaitStatus(status).Signal())
		}
		if got != test.want {
			t.Errorf("code %d status %d: %d, not %d", test.code, test.status, got, test.want)
		}
		if dumped := unix.WaitStatus(status).CoreDump(); dumped != (test.code == childDumped) {
			t.Errorf("code %d: core dumped %v", test.code, dumped)
		}
	}
}
