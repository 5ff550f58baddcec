package runtimed_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/fifo"
)

// openFiles returns the descriptors of a process and the files behind them.
func openFiles(t *testing.T, pid int) map[string]string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	check(t, err)
	files := make(map[string]string)
	for _, e := range entries {
		// else the descriptor is closed already
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			files[e.Name()] = target
		}
	}
	return files
}

// moved is how many bytes a process's threads have read and written (proc(5),
// /proc/PID/task/TID/io; /proc/PID/io includes reaped children).
func moved(t *testing.T, pid int) (n int64) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/io", pid))
	check(t, err)
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread has ended
		}
		check(t, err)
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(strings.TrimSpace(line), ": "); name == "rchar" || name == "wchar" {
				count, err := strconv.ParseInt(value, 10, 64)
				check(t, err)
				n += count
			}
		}
	}
	return n
}

func (d *daemon) keeperPid() int {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, "keeper", "keeper.pid"))
	check(d.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	check(d.t, err)
	return pid
}

// The container has the FIFOs as its own descriptors. No other process has them open for
// it, and no byte of 256 MiB passes through runtimed or the keeper.
func TestNoCopyOfOutput(t *testing.T) {
	const size = 256 << 20
	d := startDaemon(t, "runc")
	set, err := fifo.Create(filepath.Join(d.dir, "c"), fifo.Config{Stdin: true, Stdout: true})
	check(t, err)
	out, err := set.OpenStdout(t.Context())
	check(t, err)
	defer out.Close()
	in, err := set.OpenStdin(t.Context())
	check(t, err)
	defer func() { check(t, in.Abort()) }()
	pid := int(d.run("c", fmt.Sprintf("read x; exec head -c %d /dev/zero", size), &streams{set: set}))
	files := openFiles(t, pid)
	equal(t, "the container's stdin", files["0"], set.Paths().Stdin)
	equal(t, "the container's stdout", files["1"], set.Paths().Stdout)
	for fd, want := range map[string]int{"0": unix.O_RDONLY, "1": unix.O_RDWR} {
		info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, fd))
		check(t, err)
		_, rest, _ := bytes.Cut(info, []byte("flags:\t"))
		flags, err := strconv.ParseInt(string(rest[:bytes.IndexByte(rest, '\n')]), 8, 64)
		check(t, err)
		equal(t, "open mode of "+fd, int(flags)&(unix.O_ACCMODE|unix.O_NONBLOCK), want)
	}
	before := make(map[int]int64)
	for _, other := range []int{d.runtimedPid(), d.keeperPid()} {
		for fd, target := range openFiles(t, other) {
			if target == set.Paths().Stdout {
				t.Errorf("process %d has the container's stdout open as %s", other, fd)
			}
		}
		before[other] = moved(t, other)
	}
	_, err = in.Write([]byte("\n"))
	check(t, err)
	got := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(io.Discard, out) // missing bytes are missing in n
		got <- n
	}()
	equal(t, "exit status", d.wait("c", ""), 0)
	out.ExitKnown()
	equal(t, "bytes of output", <-got, size)
	for other, bytes := range before {
		if n := moved(t, other) - bytes; n > 4<<20 {
			t.Errorf("process %d moved %d bytes meanwhile", other, n)
		}
	}
}

// BenchmarkOutput is the throughput of a container's stdout with a reader that discards
// it. BenchmarkOutputOfPipe is that of a process with a plain pipe.
func BenchmarkOutput(b *testing.B) {
	d := startDaemon(b, "runc")
	set, err := fifo.Create(filepath.Join(d.dir, "c"), fifo.Config{Stdout: true})
	check(b, err)
	out, err := set.OpenStdout(b.Context())
	check(b, err)
	defer out.Close()
	d.run("c", "exec cat /dev/zero", &streams{set: set})
	readAll(b, out)
}

func BenchmarkOutputOfPipe(b *testing.B) {
	r, w, err := os.Pipe()
	check(b, err)
	defer r.Close()
	_, err = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 1<<20)
	check(b, err)
	cat, err := os.StartProcess("/bin/busybox", []string{"cat", "/dev/zero"},
		&os.ProcAttr{Files: []*os.File{nil, w, nil}})
	check(b, err)
	check(b, w.Close())
	readAll(b, r)
	check(b, cat.Kill())
	_, err = cat.Wait()
	check(b, err)
}

func readAll(b *testing.B, r io.Reader) {
	buffer := make([]byte, 1<<20)
	b.SetBytes(int64(len(buffer)))
	for b.Loop() {
		_, err := io.ReadFull(r, buffer)
		check(b, err)
	}
}
