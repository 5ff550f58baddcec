package terminal

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/fdpass"
)

// openFiles counts the process's descriptors, but for those of Go's network poller, which come with the first socket.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, entry := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil && !strings.HasPrefix(target, "anon_inode:") {
			n++
		}
	}
	return n
}

// socket makes a console socket whose path is short enough.
func socket(t *testing.T) *ConsoleSocket {
	t.Helper()
	dir, err := os.MkdirTemp("", "cs.")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := NewConsoleSocket(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// dial connects as an OCI runtime does.
func dial(t *testing.T, s *ConsoleSocket) *net.UnixConn {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: s.Path(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestReceive has an OCI runtime send a terminal, and what is none. No descriptor stays open.
func TestReceive(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	before := openFiles(t)
	for _, tt := range []struct {
		name  string
		sent  string
		files []*os.File
		is    func(error) bool
	}{
		{"a terminal", "/dev/pts/1", []*os.File{terminal}, func(err error) bool { return err == nil }},
		{"nothing", "", nil, func(err error) bool { return err != nil }},
		{"no descriptor", "/dev/pts/1", nil, errdefs.IsDataLoss},
		{"two", "/dev/pts/1", []*os.File{terminal, terminal}, errdefs.IsDataLoss},
		{"nine", "/dev/pts/1", []*os.File{
			terminal, terminal, terminal, terminal, terminal, terminal, terminal, terminal, terminal,
		}, errdefs.IsDataLoss},
		{"no terminal", "/dev/null", []*os.File{null}, func(err error) bool { return errors.Is(err, unix.ENOTTY) }},
	} {
		s := socket(t)
		conn := dial(t, s)
		if tt.sent != "" {
			err := fdpass.With(tt.files, func(fds []int) error { return fdpass.Write(conn, []byte(tt.sent), fds) })
			if err != nil {
				t.Fatal(err)
			}
		}
		conn.Close()
		master, err := s.Receive(t.Context())
		if !tt.is(err) || (err == nil) != (master != nil) {
			t.Errorf("%s: %v, %v", tt.name, master, err)
		}
		if master != nil {
			checkMaster(t, master)
		}
		s.Close()
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors are open, before it were %d", after, before)
	}
}

// checkMaster sees that a master is not passed on to other programs and does not block, and closes it.
func checkMaster(t *testing.T, master *os.File) {
	t.Helper()
	defer master.Close()
	err := fdpass.With([]*os.File{master}, func(fds []int) error {
		if flags, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("the terminal is not close-on-exec: %x, %v", flags, err)
		}
		if flags, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("the terminal blocks: %x, %v", flags, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestReceiveEnds waits for an OCI runtime that does not connect, and for one that sends nothing.
func TestReceiveEnds(t *testing.T) {
	for _, connects := range []bool{false, true} {
		s := socket(t)
		if connects {
			defer dial(t, s).Close()
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Receive(ctx); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("connects %t: %v", connects, err)
		}
		s.Close()
		if left, err := filepath.Glob(filepath.Join(filepath.Dir(s.Path()), "*")); err != nil || len(left) != 0 {
			t.Errorf("the socket is left: %v, %v", left, err)
		}
	}
}
