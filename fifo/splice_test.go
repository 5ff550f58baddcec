package fifo

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// spliceAll splices to the end of the output, and returns the number of bytes.
func spliceAll(t *testing.T, reader *Reader, file *os.File, offset int64) int64 {
	t.Helper()
	var total int64
	for {
		n, err := reader.Splice(file, offset+total, 1<<20)
		total += n
		if errors.Is(err, io.EOF) {
			return total
		}
		if err != nil || n < 1 {
			t.Fatalf("splice: %d, %v", n, err)
		}
	}
}

func TestSplice(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader := openStdout(t, set)
	file := tempFile(t)
	if _, err := file.WriteString("head "); err != nil {
		t.Fatal(err)
	}
	cmd := start(t, openContainer(t, Paths{Stdout: set.Paths().Stdout}),
		"sh", "-c", "busybox seq 1 300000; busybox sleep 1000 & echo $!")
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		reader.ExitKnown()
	})
	total := spliceAll(t, reader, file, 5)
	wg.Wait()
	got, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(got)) != total+5 || !bytes.HasPrefix(got, []byte("head 1\n2\n")) {
		t.Errorf("%d bytes in the file, %d moved", len(got), total)
	}
	lines := bytes.Split(bytes.TrimSpace(got), []byte("\n"))
	pid, err := strconv.Atoi(string(lines[len(lines)-1]))
	if err != nil || len(lines) != 300001 || string(lines[299999]) != "300000" {
		t.Fatalf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Error(err)
	}
}

func TestSpliceWaits(t *testing.T) {
	for name, wake := range map[string]struct {
		call func(*Reader)
		want error
	}{
		"exit":  {(*Reader).ExitKnown, io.EOF},
		"close": {func(r *Reader) { r.Close() }, os.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			reader, file := openStdout(t, newSet(t)), tempFile(t)
			defer reader.Close()
			ended := make(chan error)
			go func() {
				_, err := reader.Splice(file, 0, 10)
				ended <- err
			}()
			waitParked(t, "IO wait", "fifo.(*Reader).Splice")
			wake.call(reader)
			if err := <-ended; !errors.Is(err, wake.want) {
				t.Errorf("splice: %v", err)
			}
		})
	}
}

func TestSpliceRefuses(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader := openStdout(t, set)
	defer reader.Close()
	files := openContainer(t, Paths{Stdout: set.Paths().Stdout})
	defer files.Close()
	if _, err := files.Stdout.WriteString("kept"); err != nil {
		t.Fatal(err)
	}
	file := tempFile(t)
	for name, c := range map[string]struct {
		flags  int
		offset int64
		limit  int
	}{
		"no bytes":        {os.O_RDWR, 0, 0},
		"negative offset": {os.O_RDWR, -1, 1},
		"appending":       {os.O_RDWR | os.O_APPEND, 0, 1},
		"read-only":       {os.O_RDONLY, 0, 1},
	} {
		dst, err := os.OpenFile(file.Name(), c.flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := reader.Splice(dst, c.offset, c.limit); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
		dst.Close()
		if _, err := reader.Splice(dst, 0, 1); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s, closed: %v", name, err)
		}
	}
	if _, err := reader.SpliceTo(file, 0); !errdefs.IsInvalidArgument(err) {
		t.Errorf("no bytes: %v", err)
	}
	reader.ExitKnown()
	if all, err := io.ReadAll(reader); err != nil || string(all) != "kept" {
		t.Errorf("left in the pipe: %q, %v", all, err)
	}
}

// A full disk loses no output: the bytes stay in the pipe until there is room.
func TestSpliceToFullDisk(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	file, err := os.Create(filepath.Join(dir, "raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader := openStdout(t, set)
	defer reader.Close()
	files := openContainer(t, Paths{Stdout: set.Paths().Stdout})
	defer files.Close()
	want := bytes.Repeat([]byte("0123456789abcdef"), 16<<10)
	if _, err := files.Stdout.Write(want); err != nil {
		t.Fatal(err)
	}
	var total int64
	for err == nil {
		var n int64
		n, err = reader.Splice(file, total, 1<<20)
		total += n
	}
	if !errors.Is(err, unix.ENOSPC) || !errdefs.IsResourceExhausted(err) {
		t.Errorf("splice into a full disk: %v", err)
	}
	got := make([]byte, total)
	if _, err := file.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	reader.ExitKnown()
	inPipe, err := io.ReadAll(reader)
	if err != nil || !bytes.Equal(append(got, inPipe...), want) {
		t.Errorf("%d bytes in the file, %d in the pipe, %v", len(got), len(inPipe), err)
	}
}

// A peer that is slow, then reads, then closes.
func TestSpliceToSocket(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader := openStdout(t, set)
	ours, theirs := socketPair(t)
	cmd := start(t, openContainer(t, Paths{Stdout: set.Paths().Stdout}), "seq", "1", "300000")
	if err := spliceUntilFull(reader, ours); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer ours.CloseWrite()
		for {
			if err := spliceUntilFull(reader, ours); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				t.Error(err)
				return
			}
			waitRoom(t, ours)
		}
	})
	wg.Go(func() {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		reader.ExitKnown()
	})
	all, err := io.ReadAll(theirs)
	wg.Wait()
	if err != nil || !bytes.HasSuffix(all, []byte("\n299999\n300000\n")) || len(all) != 1988895 {
		t.Errorf("%d bytes, %v", len(all), err)
	}
}

func TestSpliceToBrokenSocket(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader := openStdout(t, set)
	defer reader.Close()
	files := openContainer(t, Paths{Stdout: set.Paths().Stdout})
	defer files.Close()
	if _, err := files.Stdout.Write(make([]byte, reader.PipeSize())); err != nil {
		t.Fatal(err)
	}
	ours, theirs := socketPair(t)
	if err := spliceUntilFull(reader, ours); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	if _, err := reader.SpliceTo(ours, 1<<20); !errors.Is(err, unix.EPIPE) {
		t.Errorf("to a peer that is gone: %v", err)
	}
	ours.Close()
	if _, err := reader.SpliceTo(ours, 1<<20); !errors.Is(err, net.ErrClosed) {
		t.Errorf("to a closed socket: %v", err)
	}
}

// spliceUntilFull splices until conn has no room, or to an error.
func spliceUntilFull(reader *Reader, conn *net.UnixConn) error {
	for {
		if _, err := reader.Pending(); err != nil {
			return err
		}
		if n, err := reader.SpliceTo(conn, 1<<20); n == 0 || err != nil {
			return err
		}
	}
}

// waitRoom waits until conn has room.
func waitRoom(t *testing.T, conn *net.UnixConn) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Write(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
	}
	if err != nil {
		t.Error(err)
	}
}

// The bytes that Pending counts stay in the pipe. After the exit, Pending counts only the
// bytes that were in the pipe at the exit.
func TestPending(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader := openStdout(t, set)
	defer reader.Close()
	files := openContainer(t, Paths{Stdout: set.Paths().Stdout})
	defer files.Close()
	pending := make(chan int)
	go func() {
		n, err := reader.Pending()
		if err != nil {
			t.Error(err)
		}
		pending <- n
	}()
	waitParked(t, "IO wait", "fifo.(*Reader).Pending")
	write := func(text string) {
		t.Helper()
		if _, err := files.Stdout.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	write("1234")
	if n := <-pending; n != 4 {
		t.Errorf("%d bytes pending", n)
	}
	reader.ExitKnown()
	for range 2 {
		if n, err := reader.Pending(); n != 4 || err != nil {
			t.Errorf("after the exit: %d, %v", n, err)
		}
		write("too late")
	}
	if all, err := io.ReadAll(reader); string(all) != "1234" || err != nil {
		t.Errorf("read %q, %v", all, err)
	}
	if _, err := reader.Pending(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	reader.Close()
	if _, err := reader.Pending(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func tempFile(t testing.TB) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func socketPair(t testing.TB) (ours, theirs *net.UnixConn) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range pair {
		file := os.NewFile(uintptr(fd), "socket")
		conn, err := net.FileConn(file)
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		t.Cleanup(func() { conn.Close() })
		conns[i] = conn.(*net.UnixConn)
	}
	return conns[0], conns[1]
}

// SpliceTo doesn't wait for an empty pipe either, since it holds the destination.
func TestSpliceToWaitsForNothing(t *testing.T) {
	checkLeaks(t)
	reader := openStdout(t, newSet(t))
	defer reader.Close()
	ours, theirs := socketPair(t)
	defer theirs.Close()
	defer ours.Close()
	if n, err := reader.SpliceTo(ours, 10); n != 0 || err != nil {
		t.Errorf("splice: %d, %v", n, err)
	}
	reader.ExitKnown()
	if _, err := reader.SpliceTo(ours, 10); !errors.Is(err, io.EOF) {
		t.Errorf("splice after the exit: %v", err)
	}
}
