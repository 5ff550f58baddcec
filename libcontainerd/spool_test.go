package libcontainerd

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
)

// longest bounds what must happen; it is never measured.
const longest = time.Minute

// spooled is a process's stdout with a spool, and the process's end of it.
func spooled(t *testing.T, opts SpoolOptions) (*Spool, Streams, fifo.ContainerFiles) {
	t.Helper()
	st, files := opened(t, FIFO(t.TempDir()), config(InitProcess))
	s, err := NewSpool(st.Stdout(), opts)
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

func TestSpoolReadersHaveTheirOwnOffsets(t *testing.T) {
	before := descriptors(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	for _, opts := range []SpoolOptions{{Bound: 8 << 20}, {Bound: 8 << 20, File: file}} {
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

// TestSpoolWaitsForNoReader has one that never reads, and one that reads slowly.
func TestSpoolWaitsForNoReader(t *testing.T) {
	const all, bound = 20 << 20, 256 << 10
	s, st, files := spooled(t, SpoolOptions{Bound: bound})
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
	for _, r := range []*SpoolReader{stuck, slow} {
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

// TestSpoolGivesTrueBytesOrNone reads while what is read is being freed.
func TestSpoolGivesTrueBytesOrNone(t *testing.T) {
	const all = 16 << 20
	s, st, files := spooled(t, SpoolOptions{Bound: holeUnit})
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

func TestSpoolCloseEndsReaders(t *testing.T) {
	for name, end := range map[string]func(*Spool, *SpoolReader, Streams) error{
		"the reader's":  func(_ *Spool, r *SpoolReader, _ Streams) error { return r.Close() },
		"the spool's":   func(s *Spool, _ *SpoolReader, _ Streams) error { return s.Close() },
		"the streams'":  func(_ *Spool, _ *SpoolReader, st Streams) error { return st.Close() },
		"that detaches": func(_ *Spool, _ *SpoolReader, st Streams) error { return st.Detach() },
	} {
		s, st, files := spooled(t, SpoolOptions{})
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
type broken struct{ Output }

var errBroken = errors.New("no space left")

func (broken) Splice(*os.File, int64, int) (int64, error) { return 0, errBroken }
func (broken) Close() error                               { return nil }

func TestSpoolTellsWhyItEnded(t *testing.T) {
	s, err := NewSpool(broken{}, SpoolOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reader(0).Read(make([]byte, 1)); !errors.Is(err, errBroken) {
		t.Errorf("read: %v", err)
	}
	if err := s.Close(); !errors.Is(err, errBroken) {
		t.Errorf("close: %v", err)
	}
	if _, err := NewSpool(nil, SpoolOptions{}); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
	if _, err := NewSpool(broken{}, SpoolOptions{Bound: -1}); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}

// allocated is the space that a file takes, in bytes.
func allocated(info os.FileInfo) int64 {
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}
