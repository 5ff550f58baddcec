package logs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

func itoa(i int) string { return strconv.Itoa(i) }

// assertText compares long texts and shows the first difference.
func assertText(t testing.TB, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	t.Errorf("%s: %d bytes, want %d; from byte %d on: %.60q, want %.60q", what, len(got), len(want), i, got[i:],
		want[i:])
}

// waitLogged waits until the log has so many bytes of stream i.
func waitLogged(t testing.TB, o *Output, i int, n int64) {
	t.Helper()
	waitFor(t, "the log", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.streams[i] != nil && o.streams[i].encoded >= n
	})
}

func TestBothStreams(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	o, out, errs := p.open(0), newStream(t), newStream(t)
	o.Start(out, errs)
	want := numbered(0, 20000)
	var wg sync.WaitGroup
	wg.Go(func() { out.write(t, want+"no newline at the end") })
	wg.Go(func() { errs.write(t, want) })
	wg.Wait()
	select {
	case <-o.Drained():
		t.Fatal("drained before the end")
	default:
	}
	out.end()
	errs.end()
	within(t, "the end", o.Drained())
	got := p.entries()
	assertText(t, Stdout, got[Stdout], want+"no newline at the end")
	assertText(t, Stderr, got[Stderr], want)
}

// TestGoneAtOnce has a process that fills the pipe and ends before anything is read.
func TestGoneAtOnce(t *testing.T) {
	for _, logged := range []bool{true, false} {
		p := newPlace(t)
		if !logged {
			p.log = ""
		}
		o, s := p.open(0), newStream(t)
		f := o.Follow(FollowOptions{Stdout: true})
		want := strings.Repeat("x", 64<<10)
		s.write(t, want)
		s.end()
		o.Start(s, nil)
		within(t, "the end", o.Drained())
		if logged {
			assertText(t, "log", p.entries()[Stdout], want)
		}
		var client lockedBuffer
		must(t, f.Copy(t.Context(), &client, nil))
		must(t, f.Close())
		assertText(t, "client", client.String(), want)
	}
}

// TestUnfinishedLine writes a prompt without a line end, and waits. The encoder is idle,
// and followers have the prompt.
func TestUnfinishedLine(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	o, s := p.open(0), newStream(t)
	o.Start(s, nil)
	f := o.Follow(FollowOptions{Stdout: true})
	var client lockedBuffer
	copied := make(chan error, 1)
	go func() { copied <- f.Copy(context.Background(), &client, nil) }()
	s.write(t, "password: ")
	waitFor(t, "the prompt", func() bool { return client.len() == 10 })
	waitFor(t, "the encoder to be idle", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return !o.encoding
	})
	s.write(t, "ok\n")
	waitLogged(t, o, 0, 13)
	s.write(t, "$ ")
	s.end()
	within(t, "the end", o.Drained())
	must(t, <-copied)
	must(t, f.Close())
	assertText(t, "client", client.String(), "password: ok\n$ ")
	assertText(t, "log", p.entries()[Stdout], "password: ok\n$ ")
}

// TestEngineGoesDown closes the sources in the middle of a line, as an engine does that is
// restarted. The keeper reads on.
func TestEngineGoesDown(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	o, s := p.open(0), newStream(t)
	raw, err := o.Raw(Stdout)
	must(t, err)
	keeper, err := os.OpenFile("/proc/self/fd/"+itoa(int(raw.Fd())), os.O_RDWR, 0)
	must(t, err)
	defer keeper.Close()
	o.Start(s, nil)
	s.write(t, "one\ntw")
	waitLogged(t, o, 0, 4)
	s.Close()
	within(t, "the end of the mover", o.Drained())
	must(t, o.Close())
	assertText(t, "log", p.entries()[Stdout], "one\n")
	_, err = keeper.WriteAt([]byte("o\nthr"), 6)
	must(t, err)

	o, s = p.open(0), newStream(t)
	o.Start(s, nil)
	s.write(t, "ee\n")
	s.end()
	within(t, "the end", o.Drained())
	assertText(t, "log", p.entries()[Stdout], "one\ntwo\nthree\n")
}

// TestNextRun writes two runs of a container to one log.
func TestNextRun(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	for _, text := range []string{"first run\n", "second run"} {
		o, s := p.open(0), newStream(t)
		o.Start(s, nil)
		s.write(t, text)
		s.end()
		within(t, "the end", o.Drained())
		must(t, o.Remove())
		must(t, o.Close())
		if _, err := os.Stat(p.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the directory: %v", err)
		}
	}
	assertText(t, "log", p.entries()[Stdout], "first run\nsecond run")
}

func TestNeverStarted(t *testing.T) {
	checkLeaks(t)
	for name, end := range map[string]func(*Output) error{"remove": (*Output).Remove, "close": (*Output).Close} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			o := p.open(0)
			follower, idle := o.Follow(FollowOptions{Stdout: true}), o.Follow(FollowOptions{})
			copied := make(chan error, 2)
			go func() { copied <- follower.Copy(context.Background(), io.Discard, nil) }()
			go func() { copied <- idle.Copy(context.Background(), nil, nil) }()
			must(t, end(o))
			within(t, "the end", o.Drained())
			for range 2 {
				if err := <-copied; name == "remove" && err != nil || name == "close" && !errors.Is(err, os.ErrClosed) {
					t.Errorf("copy: %v", err)
				}
			}
			o.Start(brokenSource{}, nil) // too late
			must(t, follower.Close())
			must(t, idle.Close())
		})
	}
}

// TestStreamThatIsntThere has clients that ask, after the start, for a stream that the
// process does not have, as with a terminal.
func TestStreamThatIsntThere(t *testing.T) {
	checkLeaks(t)
	for _, logged := range []bool{true, false} {
		p := newPlace(t)
		if !logged {
			p.log = ""
		}
		o, s := p.open(0), newStream(t)
		o.Start(s, nil)
		f := o.Follow(FollowOptions{Stdout: true, Stderr: true, Logged: true})
		idle := o.Follow(FollowOptions{})
		s.write(t, "text")
		s.end()
		var client lockedBuffer
		must(t, f.Copy(t.Context(), &client, &client))
		must(t, idle.Copy(t.Context(), nil, nil))
		within(t, "the end", o.Drained())
		assertText(t, "client", client.String(), "text")
		must(t, errors.Join(f.Close(), idle.Close(), o.Close()))
		s.Close()
	}
}

// TestDroppedOutput writes output without a log or a client. The process writes on, and
// the output uses no disk space.
func TestDroppedOutput(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	p.log = ""
	o, s := p.open(4<<20), newStream(t)
	o.Start(s, nil)
	chunk := strings.Repeat("x", 1<<20)
	for range 50 {
		s.write(t, chunk)
	}
	s.end()
	within(t, "the end", o.Drained())
	if n := allocated(t, filepath.Join(p.dir, Stdout)); n > 2*freeStep {
		t.Errorf("%d bytes are allocated", n)
	}
}

// TestLoggedOutputIsFreed checks the disk space while output comes.
func TestLoggedOutputIsFreed(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	o, s := p.open(0), newStream(t)
	o.Start(s, nil)
	line := strings.Repeat("x", 1023) + "\n"
	var most int64
	for range 24 {
		s.write(t, strings.Repeat(line, 1024))
		most = max(most, allocated(t, filepath.Join(p.dir, Stdout)))
	}
	s.end()
	within(t, "the end", o.Drained())
	waitFor(t, "the last hole", func() bool { return allocated(t, filepath.Join(p.dir, Stdout)) <= freeStep+64<<10 })
	if limit := int64(encoderLead + moveChunk + 2*freeStep); most > limit {
		t.Errorf("%d bytes were allocated, at most %d expected", most, limit)
	}
	assertText(t, "log", p.entries()[Stdout], strings.Repeat(line, 24*1024))
}

// brokenSource always fails.
type brokenSource struct{}

func (brokenSource) Splice(*os.File, int64, int) (int64, error) { return 0, unix.EIO }

// pickySource can't splice into a regular file.
type pickySource struct {
	*stream
	lost atomic.Int64
}

func (s *pickySource) Splice(dst *os.File, off int64, most int) (int64, error) {
	if dst.Name() != os.DevNull {
		return 0, unix.EINVAL
	}
	n, err := s.stream.Splice(dst, off, most)
	s.lost.Add(n)
	return n, err
}

// TestBrokenSource has a source that fails: the output ends. TestUnfitDestination has a
// destination that fails: the writer goes on.
func TestBrokenSource(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	o := p.open(0)
	o.Start(brokenSource{}, brokenSource{})
	within(t, "the end", o.Drained())
}

func TestUnfitDestination(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	o, s := p.open(0), &pickySource{stream: newStream(t)}
	o.Start(s, nil)
	s.write(t, strings.Repeat("x", 3<<20))
	s.end()
	within(t, "the end", o.Drained())
	if s.lost.Load() != 3<<20 {
		t.Errorf("%d bytes were read", s.lost.Load())
	}
}

// TestFullDisk fills the file system of the raw file and the log, and then makes room. All
// output must be there.
func TestFullDisk(t *testing.T) {
	checkLeaks(t)
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"))
	defer func() { must(t, unix.Unmount(dir, 0)) }()
	p := &place{t: t, dir: filepath.Join(dir, "raw"), log: filepath.Join(dir, "log")}
	o, s := p.open(0), newStream(t)
	o.Start(s, nil)
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	must(t, err)
	s.write(t, "before\n")
	waitLogged(t, o, 0, 7)
	for _, err = f.Write(make([]byte, 4096)); err == nil; _, err = f.Write(make([]byte, 4096)) {
	}
	must(t, f.Close())
	want := numbered(0, 15000)
	s.write(t, want)
	s.end()
	select {
	case <-o.Drained():
		t.Error("drained in spite of the full disk")
	default:
	}
	must(t, os.Remove(filler))
	within(t, "the end", o.Drained())
	assertText(t, "log", p.entries()[Stdout], "before\n"+want)
	must(t, o.Close())
}

// TestCloseOnFullDisk closes an output on a full disk: Close does not wait for room.
func TestCloseOnFullDisk(t *testing.T) {
	checkLeaks(t)
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	defer func() { must(t, unix.Unmount(dir, 0)) }()
	p := &place{t: t, dir: filepath.Join(dir, "raw"), log: filepath.Join(dir, "log")}
	o, s := p.open(0), newStream(t)
	o.Start(s, nil)
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = s.w.WriteString(numbered(0, 100000))
	}()
	waitFor(t, "the full disk", func() bool {
		var st unix.Statfs_t
		must(t, unix.Statfs(dir, &st))
		return st.Bfree == 0
	})
	must(t, s.Close())
	must(t, o.Close())
	r, err := os.OpenFile(s.set.Paths().Stdout, os.O_RDONLY|unix.O_NONBLOCK, 0)
	must(t, err)
	_ = r.Close() // the writer gets EPIPE
	<-written
}

// TestEmptiedLog truncates the log, as users do to make room.
func TestEmptiedLog(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	o, s := p.open(0), newStream(t)
	o.Start(s, nil)
	lines, ended := make(chan string, 10), make(chan error, 1)
	go func() {
		ended <- Read(context.Background(), p.log, ReadOptions{Stdout: true, Tail: -1, Output: o, Follow: true}, func(e Entry) error {
			lines <- string(e.Line)
			return nil
		})
	}()
	s.write(t, "before\n")
	if line := <-lines; line != "before\n" {
		t.Errorf("read %q", line)
	}
	waitLogged(t, o, 0, 7)
	must(t, os.Truncate(p.log, 0))
	s.write(t, "after\n")
	if line := <-lines; line != "after\n" {
		t.Errorf("read %q", line)
	}
	s.end()
	must(t, <-ended)
	must(t, o.Close())
	assertText(t, "log", p.entries()[Stdout], "after\n")
	logText(t, p, "again\n")
	assertText(t, "log", p.entries()[Stdout], "after\nagain\n")
}

func TestOpenFails(t *testing.T) {
	checkLeaks(t)
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	dir := t.TempDir()
	must(t, os.Symlink(file, filepath.Join(dir, Stderr)))
	for _, c := range []Config{
		{Dir: filepath.Join(file, "raw")},
		{Dir: dir},
		{Dir: filepath.Join(t.TempDir(), "raw"), Log: Log{Path: filepath.Join(file, "log")}},
	} {
		if _, err := Open(c); err == nil {
			t.Errorf("%v was opened", c)
		}
	}
	o, err := Open(Config{Dir: filepath.Join(t.TempDir(), "raw")})
	must(t, err)
	if _, err := o.Raw("stdin"); err == nil {
		t.Error("there is a raw file for stdin")
	}
	must(t, errors.Join(o.Close(), o.Close()))
}

// TestNextEngineFrees frees the disk space that a follower of the first engine had held.
// Otherwise the keeper would soon reach its limit.
func TestNextEngineFrees(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	o, s := p.open(0), newStream(t)
	f := o.Follow(FollowOptions{Stdout: true})
	o.Start(s, nil)
	text := numbered(0, 150000)
	s.write(t, text)
	waitLogged(t, o, 0, int64(len(text)))
	must(t, errors.Join(s.Close(), o.Close(), f.Close()))
	if n := allocated(t, filepath.Join(p.dir, Stdout)); n < 4<<20 {
		t.Fatalf("%d bytes are allocated: the follower held nothing", n)
	}
	o, next := p.open(0), newStream(t)
	o.Start(next, nil)
	next.write(t, "a line\n")
	waitFor(t, "less on the disk", func() bool { return allocated(t, filepath.Join(p.dir, Stdout)) < 2*freeStep })
	next.end()
	within(t, "the end", o.Drained())
	assertText(t, "log", p.entries()[Stdout], text+"a line\n")
}

// TestOpenWithoutParent opens the output of a container that was removed meanwhile: nothing of it is made again.
func TestOpenWithoutParent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "removed")
	if _, err := Open(Config{Dir: filepath.Join(dir, "raw")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is there: %v", err)
	}
}
