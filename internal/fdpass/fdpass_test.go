package fdpass

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// pair returns both ends of a connection whose messages are packets.
func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "fd.") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	address := &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unixpacket"}
	listener, err := net.ListenUnix("unixpacket", address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if a, err = net.DialUnix("unixpacket", nil, address); err != nil {
		t.Fatal(err)
	}
	if b, err = listener.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// openFiles counts the process's descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestPass sends the ends of pipes and writes through what arrives.
func TestPass(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := With([]*os.File{w}, func(fds []int) error { return Write(a, []byte("one"), fds) }); err != nil {
		t.Fatal(err)
	}
	w.Close()
	data := make([]byte, 16)
	n, fds, err := Read(b, data, 1)
	if err != nil || string(data[:n]) != "one" || len(fds) != 1 {
		t.Fatalf("got %q with descriptors %v, %v", data[:n], fds, err)
	}
	if flags, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("the descriptor is not close-on-exec: %x, %v", flags, err)
	}
	if _, err := unix.Write(fds[0], []byte("through")); err != nil {
		t.Fatal(err)
	}
	Close(fds)
	if text, err := io.ReadAll(r); err != nil || string(text) != "through" {
		t.Errorf("read %q, %v", text, err)
	}
	if err := Write(a, []byte("two"), nil); err != nil {
		t.Fatal(err)
	}
	if n, fds, err := Read(b, data, 1); err != nil || string(data[:n]) != "two" || len(fds) != 0 {
		t.Errorf("got %q with descriptors %v, %v", data[:n], fds, err)
	}
	a.Close()
	if _, _, err := Read(b, data, 1); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// TestTruncated sends more than the reader has room for. No descriptor stays open, and the connection goes on.
func TestTruncated(t *testing.T) {
	a, b := pair(t)
	before := openFiles(t)
	data := make([]byte, 4)
	for _, tt := range []struct {
		name        string
		text        string
		descriptors []int
		limit       int
		want        error
	}{
		{"fits", "four", []int{0, 1}, 2, nil},
		{"long text", "fives", []int{0, 1}, 2, ErrTruncated},
		{"one descriptor too many", "four", []int{0, 1}, 1, ErrTruncated},
		{"descriptors too many", "four", []int{0, 1, 2, 0, 1}, 2, ErrTruncated},
		{"none allowed", "four", []int{0}, 0, ErrTruncated},
		{"none, none allowed", "four", nil, 0, nil},
	} {
		if err := Write(a, []byte(tt.text), tt.descriptors); err != nil {
			t.Fatal(err)
		}
		_, fds, err := Read(b, data, tt.limit)
		if !errors.Is(err, tt.want) || errdefs.IsInvalidArgument(err) != (tt.want != nil) || err != nil && fds != nil {
			t.Errorf("%s: descriptors %v, %v, want %v", tt.name, fds, err, tt.want)
		}
		Close(fds)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors are open, before it were %d", after, before)
	}
}

// TestEmptyPacket sends a descriptor with an empty packet, which Write does not. It is the end of the connection
// for its reader, and the descriptor is closed.
func TestEmptyPacket(t *testing.T) {
	a, b := pair(t)
	before := openFiles(t)
	control := unix.UnixRights(0)
	message := unix.Msghdr{Control: &control[0]}
	message.SetControllen(len(control))
	raw, err := a.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var errno unix.Errno
	if err := raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&message)), 0)
	}); err != nil || errno != 0 {
		t.Fatal(err, errno)
	}
	if _, fds, err := Read(b, make([]byte, 4), 1); !errors.Is(err, io.EOF) || fds != nil {
		t.Errorf("descriptors %v, %v", fds, err)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors are open, before it were %d", after, before)
	}
}

// TestWith gives files that have no descriptor, and an error of the function.
func TestWith(t *testing.T) {
	own := errors.New("own")
	for _, tt := range []struct {
		files []*os.File
		want  error
	}{
		{nil, own},
		{[]*os.File{os.Stdin, os.Stdout}, own},
		{[]*os.File{nil}, os.ErrInvalid},
	} {
		err := With(tt.files, func(fds []int) error {
			if len(fds) != len(tt.files) {
				t.Errorf("%d descriptors of %d files", len(fds), len(tt.files))
			}
			return own
		})
		if !errors.Is(err, tt.want) {
			t.Errorf("%v: %v, want %v", tt.files, err, tt.want)
		}
	}
	closed, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	err = With([]*os.File{os.Stdin, closed}, func([]int) error { t.Error("called with a closed file"); return nil })
	if err == nil {
		t.Error("a closed file is no error")
	}
}

// FuzzParse reads what is too short for a descriptor: those of a longer one would be the test's own.
func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	f.Add(unix.UnixRights())
	f.Fuzz(func(t *testing.T, control []byte) {
		if len(control) >= unix.CmsgLen(descriptorSize) {
			return
		}
		if descriptors := parse(control); len(descriptors) != 0 {
			t.Fatalf("descriptors from %q: %v", control, descriptors)
		}
	})
}
