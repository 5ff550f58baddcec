package unixsocket

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// place returns a path that is short enough for a socket.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "us.")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// leave makes a socket that a process left which was killed.
func leave(t *testing.T, network, path string) {
	t.Helper()
	address := &net.UnixAddr{Name: path, Net: network}
	var left interface{ Close() error }
	var err error
	if network == "unixgram" {
		left, err = net.ListenUnixgram(network, address)
	} else {
		var listener *net.UnixListener
		if listener, err = net.ListenUnix(network, address); err == nil {
			listener.SetUnlinkOnClose(false)
			left = listener
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	left.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("no socket is left: %v", err)
	}
}

// TestListen listens in place of a stale socket, and not in place of one that is served.
func TestListen(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"unix", "unixpacket"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			path := place(t)
			leave(t, network, path)
			listener, err := Listen(t.Context(), network, path, 0o640)
			if err != nil {
				t.Fatal(err)
			}
			if info, err := os.Lstat(path); err != nil || info.Mode() != os.ModeSocket|0o640 {
				t.Errorf("the socket: %v, %v", info.Mode(), err)
			}
			if _, err := Listen(t.Context(), network, path, 0o600); !errdefs.IsFailedPrecondition(err) {
				t.Errorf("a second listener: %v", err)
			}
			if conn, err := net.Dial(network, path); err != nil {
				t.Errorf("the first listener does not serve any more: %v", err)
			} else {
				conn.Close()
			}
			listener.Close()
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket after the close: %v", err)
			}
		})
	}
}

// TestListenPacket does the same with datagrams.
func TestListenPacket(t *testing.T) {
	t.Parallel()
	path := place(t)
	leave(t, "unixgram", path)
	conn, err := ListenPacket(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := ListenPacket(t.Context(), path); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("a second one: %v", err)
	}
}

// TestRemoveStale leaves alone what is not surely a stale socket.
func TestRemoveStale(t *testing.T) {
	t.Parallel()
	file := place(t)
	if err := os.WriteFile(file, []byte("words"), 0o600); err != nil {
		t.Fatal(err)
	}
	served := place(t)
	listener, err := net.Listen("unix", served)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	busy := place(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: busy}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	waiting, err := net.Dial("unix", busy) // the backlog of 0 has room for one connection
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()

	for _, tt := range []struct{ name, network, path string }{
		{"a file", "unix", file},
		{"a socket that is served", "unix", served},
		{"a socket of another type", "unixpacket", served},
		{"a socket whose server is busy", "unix", busy},
	} {
		if err := RemoveStale(t.Context(), tt.network, tt.path); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if _, err := os.Lstat(tt.path); err != nil {
			t.Errorf("%s is gone: %v", tt.name, err)
		}
	}
	if err := RemoveStale(t.Context(), "unix", place(t)); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

// TestRemoveStaleEnds asks with a context that has ended: nothing is removed.
func TestRemoveStaleEnds(t *testing.T) {
	t.Parallel()
	path := place(t)
	leave(t, "unix", path)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := RemoveStale(ctx, "unix", path); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket is gone: %v", err)
	}
}

// TestNeverWider checks that a socket never has more permissions than it is to have, whatever
// the umask is. It is not parallel: the umask is the process's.
func TestNeverWider(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	path := place(t)
	listener, err := listen(t.Context(), "unix", path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o640 {
		t.Errorf("a new socket has the permissions %v", info.Mode().Perm())
	}
}
