package spool

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/fifo"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// longest bounds what must happen; it is never measured.
const longest = time.Minute

// spooled is a process's stdout with a spool, and the process's end of it.
func spooled(t *testing.T, opts Options) (*Spool, libcontainerd.Streams, fifo.ContainerFiles) {
	t.Helper()
	st, err := libcontainerd.FIFO(t.TempDir()).Create(t.Context(),
		libcontainerd.StreamsConfig{ContainerID: "c", ProcessID: libcontainerd.InitProcess})
	if err != nil {
		t.Fatal(err)
	}
	files, err := fifo.OpenContainer(t.Context(), fifo.Paths(st.Paths()))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(st.Stdout(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return s, st, files
}

// letter is the byte at an offset: no run of them is like another one nearby.
func letter(at int64) byte { return byte(at ^ at>>8 ^ at>>16 | 1) }

func letters(from, to int64) []byte {
	b := make([]byte, to-from)
	for i := range b {
		b[i] = letter(from + int64(i))
	}
	return b
}

func ended(t *testing.T, s *Spool) {
	t.Helper()
	select {
	case <-s.Done():
	case <-time.After(longest):
		t.Fatal("the spool did not end")
	}
}

func TestReadersHaveTheirOwnOffsets(t *testing.T) {
	before := descriptors(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	for _, opts := range []Options{{Bound: 8 << 20}, {Bound: 8 << 20, File: file}} {
		const all = 3<<20 + 17
		s, st, files := spooled(t, opts)
		var readers sync.WaitGroup
		for _, from := range []int64{0, 1, 4096, 1 << 20, all - 1, all} {
			readers.Go(func() {
				got, err := io.ReadAll(s.Reader(from))
				if err != nil || !bytes.Equal(got, letters(from, all)) {
					t.Errorf("from %d: %d bytes, %v", from, len(got), err)
				}
			})
		}
		if _, err := files.Stdout.Write(letters(0, all)); err != nil {
			t.Error(err)
		}
		st.ExitKnown()
		readers.Wait()
		ended(t, s)
		if got, err := io.ReadAll(s.Reader(0)); err != nil || !bytes.Equal(got, letters(0, all)) {
			t.Errorf("after the end: %d bytes, %v", len(got), err)
		}
		if from, to := s.Kept(); from != 0 || to != all {
			t.Errorf("kept %d to %d", from, to)
		}
		closed(t, s, s, st, files)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

// TestWaitsForNoReader has one that never reads, and one that reads slowly.
func TestWaitsForNoReader(t *testing.T) {
	const all, bound = 20 << 20, 256 << 10
	s, st, files := spooled(t, Options{Bound: bound})
	stuck, slow := s.Reader(0), s.Reader(0)
	if _, err := files.Stdout.Write(letters(0, 10)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if _, err := io.ReadFull(slow, b); err != nil || !bytes.Equal(b, letters(0, 10)) {
		t.Fatalf("%q, %v", b, err)
	}
	if _, err := files.Stdout.Write(letters(10, all)); err != nil {
		t.Fatal(err)
	}
	st.ExitKnown()
	ended(t, s)
	for _, r := range []*Reader{stuck, slow} {
		if n, err := r.Read(b); n != 0 || !errdefs.IsOutOfRange(err) {
			t.Errorf("cut off: %d, %v", n, err)
		}
	}
	from, to := s.Kept()
	if to != all || to-from < bound || to-from > 2*bound {
		t.Fatalf("kept %d to %d", from, to)
	}
	if got, err := io.ReadAll(s.Reader(from)); err != nil || !bytes.Equal(got, letters(from, all)) {
		t.Errorf("the rest: %d bytes, %v", len(got), err)
	}
	info, err := s.file.Stat()
	if err != nil || allocated(info) > 2*bound {
		t.Errorf("%d bytes take %d, %v", all, allocated(info), err)
	}
	closed(t, s, st, files)
}

// TestGivesTrueBytesOrNone reads while what is read is being freed.
func TestGivesTrueBytesOrNone(t *testing.T) {
	const all = 16 << 20
	s, st, files := spooled(t, Options{Bound: holeUnit})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			b := make([]byte, 300<<10)
			for r := s.Reader(0); ; {
				at := r.Offset()
				n, err := r.Read(b[:1+rand.IntN(len(b))])
				if !bytes.Equal(b[:n], letters(at, at+int64(n))) {
					t.Errorf("%d wrong bytes at %d", n, at)
				}
				switch {
				case errdefs.IsOutOfRange(err):
					from, _ := s.Kept()
					r = s.Reader(from)
				case errors.Is(err, io.EOF):
					return
				case err != nil:
					t.Error(err)
					return
				}
			}
		})
	}
	if _, err := files.Stdout.Write(letters(0, all)); err != nil {
		t.Error(err)
	}
	st.ExitKnown()
	readers.Wait()
	closed(t, s, st, files)
}

func TestCloseEndsReaders(t *testing.T) {
	for name, end := range map[string]func(*Spool, *Reader, libcontainerd.Streams) error{
		"the reader's":  func(_ *Spool, r *Reader, _ libcontainerd.Streams) error { return r.Close() },
		"the spool's":   func(s *Spool, _ *Reader, _ libcontainerd.Streams) error { return s.Close() },
		"the streams'":  func(_ *Spool, _ *Reader, st libcontainerd.Streams) error { return st.Close() },
		"that detaches": func(_ *Spool, _ *Reader, st libcontainerd.Streams) error { return st.Detach() },
	} {
		s, st, files := spooled(t, Options{})
		r := s.Reader(0)
		failed := make(chan error, 1)
		go func() {
			_, err := r.Read(make([]byte, 1))
			failed <- err
		}()
		if err := end(s, r, st); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := <-failed; !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s close ends a read with %v", name, err)
		}
		closed(t, s, st, files)
	}
}

// broken is an output that fails.
type broken struct{ libcontainerd.Output }

var errBroken = errors.New("no space left")

func (broken) Splice(*os.File, int64, int) (int64, error) { return 0, errBroken }
func (broken) Close() error                               { return nil }

func TestTellsWhyItEnded(t *testing.T) {
	s, err := New(broken{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reader(0).Read(make([]byte, 1)); !errors.Is(err, errBroken) {
		t.Errorf("read: %v", err)
	}
	if err := s.Err(); !errors.Is(err, errBroken) {
		t.Errorf("then: %v", err)
	}
	if err := s.Close(); !errors.Is(err, errBroken) {
		t.Errorf("close: %v", err)
	}
	if _, err := New(nil, Options{}); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
	if _, err := New(broken{}, Options{Bound: -1}); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}

// allocated is the space that a file takes, in bytes.
func allocated(info os.FileInfo) int64 {
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

func closed(t *testing.T, all ...io.Closer) {
	t.Helper()
	for _, c := range all {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestGoesOn has a spool go on where another one, and somebody else who appends to the file, have stopped.
func TestGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool")
	open := func() *os.File {
		t.Helper()
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	const bound = 4 * holeUnit
	write := func(files fifo.ContainerFiles, from, to int64) {
		t.Helper()
		if _, err := files.Stdout.Write(letters(from, to)); err != nil {
			t.Fatal(err)
		}
	}
	first, st, files := spooled(t, Options{File: open(), Bound: bound})
	write(files, 0, 3*bound)
	st.ExitKnown()
	ended(t, first)
	from, to := first.Kept()
	if from == 0 || to != 3*bound {
		t.Fatalf("kept %d to %d", from, to)
	}
	closed(t, first, st, files)
	between := open()
	if _, err := between.WriteAt(letters(to, to+100), to); err != nil {
		t.Fatal(err)
	}
	closed(t, between)
	second, st, files := spooled(t, Options{File: open(), Bound: bound})
	if f, n := second.Kept(); f != from || n != to+100 {
		t.Errorf("the next has %d to %d", f, n)
	}
	write(files, to+100, to+200)
	st.ExitKnown()
	ended(t, second)
	if got, err := io.ReadAll(second.Reader(from)); err != nil || !bytes.Equal(got, letters(from, to+200)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	closed(t, second, st, files)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 10*holeUnit); err != nil { // nothing but a hole
		t.Fatal(err)
	}
	third, st, files := spooled(t, Options{File: open()})
	if f, n := third.Kept(); f != n || n != 10*holeUnit {
		t.Errorf("of a hole: %d to %d", f, n)
	}
	closed(t, third, st, files)
}
