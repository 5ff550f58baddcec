package fifo

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Another process holds the descriptor while the engine is away.
func TestReaderHandedOverAndBack(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	conn, keeper := startKeeper(t)
	reader := openStdout(t, set)
	raw, err := reader.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { sendDescriptor(conn, int(fd)) }); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	reader.Close()

	cmd := start(t, openContainer(t, Paths{Stdout: set.Paths().Stdout}), "echo", "nobody reads")
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("back")); err != nil {
		t.Fatal(err)
	}
	fd := receiveDescriptor(conn)
	if err := keeper.Wait(); err != nil {
		t.Fatal(err)
	}
	again, err := NewReader(os.NewFile(uintptr(fd), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.Identity() != reader.Identity() {
		t.Errorf("identity %v, want %v", again.Identity(), reader.Identity())
	}
	again.ExitKnown()
	if all, err := io.ReadAll(again); err != nil || string(all) != "nobody reads\n" {
		t.Errorf("%q, %v", all, err)
	}
}

func startKeeper(t *testing.T) (*net.UnixConn, *exec.Cmd) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"=keep")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.UnixConn), cmd
}

func TestNewReaderOfOtherModes(t *testing.T) {
	for name, flags := range map[string]int{
		"read-only":   unix.O_RDONLY | unix.O_NONBLOCK,
		"blocking":    unix.O_RDWR,
		"nonblocking": unix.O_RDWR | unix.O_NONBLOCK,
	} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			set := newSet(t)
			fd, err := open(set.Paths().Stdout, flags)
			if err != nil {
				t.Fatal(err)
			}
			reader, err := NewReader(os.NewFile(uintptr(fd), "stdout"))
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			ended := make(chan error)
			go func() {
				_, err := io.ReadAll(reader)
				ended <- err
			}()
			waitParked(t, "IO wait", "fifo.(*Reader).Read")
			reader.ExitKnown()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNewReaderOfUnlinkedFIFO(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	fd, err := open(set.Paths().Stdout, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	files := openContainer(t, Paths{Stdout: set.Paths().Stdout})
	if _, err := files.Stdout.WriteString("kept"); err != nil {
		t.Fatal(err)
	}
	if err := set.Remove(); err != nil {
		t.Fatal(err)
	}
	reader, err := NewReader(os.NewFile(uintptr(fd), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	reader.ExitKnown()
	if all, err := io.ReadAll(reader); err != nil || string(all) != "kept" {
		t.Errorf("%q, %v", all, err)
	}
	files.Close()
}

func TestNewReaderRefuses(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader := openStdout(t, set)
	defer reader.Close()
	for name, c := range map[string]struct {
		path  string
		flags int
	}{
		"file":       {"/proc/self/exe", unix.O_RDONLY},
		"device":     {os.DevNull, unix.O_RDWR},
		"write-only": {set.Paths().Stdout, unix.O_WRONLY},
		"pin":        {set.Paths().Stdout, unix.O_PATH},
	} {
		fd, err := open(c.path, c.flags)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(fd), name)
		if _, err := NewReader(file); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
		if err := file.Close(); err != nil {
			t.Errorf("%s: the file was not left alone: %v", name, err)
		}
		if _, err := NewReader(file); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s, closed: %v", name, err)
		}
	}
}
