package terminal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pty makes a terminal in raw mode.
func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var number int
	controlErr := raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err := errors.Join(err, controlErr); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	mode, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err == nil {
		mode.Oflag &^= unix.OPOST
		mode.Lflag &^= unix.ECHO | unix.ICANON
		err = unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, mode)
	}
	if err := errors.Join(err, unix.SetNonblock(int(slave.Fd()), true)); err != nil { // Fd has reset it
		t.Fatal(err)
	}
	return master, slave
}

// fullTerminal makes a terminal whose FIFO, of this size, and pty are full, with nobody reading, and returns the bytes
// that were written.
func fullTerminal(t *testing.T, size int) (term *Terminal, reader *os.File, written []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	raw, err := reader.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	controlErr := raw.Control(func(fd uintptr) {
		_, err = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size)
	})
	if err := errors.Join(err, controlErr); err != nil {
		t.Fatal(err)
	}
	master, slave := pty(t)
	term, err = New(master, "", path, func(stream string, err error) { t.Errorf("%s: %v", stream, err) })
	if err != nil {
		t.Fatal(err)
	}
	for line := 0; ; line++ {
		text := fmt.Appendf(nil, "line %d\n", line)
		if err := slave.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, err := slave.Write(text)
		written = append(written, text[:n]...)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := slave.Close(); err != nil { // the process ends
		t.Fatal(err)
	}
	return term, reader, written
}

// TestDrainIntoFullFIFO ends a process while nobody reads its output. The bytes that were in the terminal are in the
// FIFO when Drain returns, which is at once. A reader that comes after the terminal was closed finds them there.
func TestDrainIntoFullFIFO(t *testing.T) {
	term, reader, written := fullTerminal(t, 16<<10)
	begun := time.Now()
	term.Drain()
	term.Close()
	if took := time.Since(begun); took >= drainBound {
		t.Errorf("it took %v", took)
	}
	if err := reader.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(reader)
	if !errors.Is(err, os.ErrDeadlineExceeded) || !bytes.Equal(got, written) {
		t.Errorf("%d of %d bytes, %v", len(got), len(written), err)
	}
}

// TestDrainIntoLargestFIFO has a FIFO that can't grow, whose reader goes on after the process's end.
func TestDrainIntoLargestFIFO(t *testing.T) {
	term, reader, written := fullTerminal(t, largest)
	done := make(chan []byte)
	go func() {
		<-time.After(100 * time.Millisecond)
		_ = reader.SetReadDeadline(time.Now().Add(time.Second))
		got, _ := io.ReadAll(reader)
		done <- got
	}()
	term.Drain()
	term.Close()
	if got := <-done; !bytes.Equal(got, written) {
		t.Errorf("%d of %d bytes", len(got), len(written))
	}
}
