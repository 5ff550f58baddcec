package logs

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// followText follows an output, and returns a function that waits for the end and returns what came.
func followText(t *testing.T, o *Output) func() string {
	t.Helper()
	var client lockedBuffer
	f := o.Follow(FollowOptions{Stdout: true})
	ended := make(chan error, 1)
	go func() { ended <- f.Copy(t.Context(), &client, nil) }()
	return func() string {
		must(t, <-ended)
		must(t, f.Close())
		return client.String()
	}
}

// TestLossyBuffer writes more than the buffer takes. Whole lines are lost, none is repeated, the last one is there, and an
// attached client has all of them.
func TestLossyBuffer(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	p.limits.Buffer = 100
	o, s := p.open(0), newStream(t)
	client := followText(t, o)
	o.Start(s, nil)
	text := numbered(0, 1500)
	s.write(t, text)
	s.end()
	within(t, "the end", o.Drained())
	assertText(t, "attached", client(), text)
	rest, logged := text, p.entries()[Stdout]
	for line := range strings.SplitAfterSeq(logged, "\n") {
		_, after, ok := strings.Cut(rest, line)
		if !ok {
			t.Fatalf("the log has %q, before %.50q", line, rest)
		}
		rest = after
	}
	if rest != "" || len(logged) > len(text)/2 {
		t.Errorf("%d bytes of %d are in the log, %d behind them are not", len(logged), len(text), len(rest))
	}
	s.Close()
}

// TestLossyLongLines writes lines that are longer than the buffer, each when the one before is in the log. None is lost.
func TestLossyLongLines(t *testing.T) {
	for _, buffer := range []int64{1, 100} {
		checkLeaks(t)
		p := newPlace(t)
		p.limits.Buffer = buffer
		o, s := p.open(0), newStream(t)
		o.Start(s, nil)
		want := ""
		for n := range 20 {
			line := strings.Repeat(string(rune('a'+n)), 300) + "\n"
			s.write(t, line)
			want += line
			waitFor(t, "the line is in the log", func() bool { return p.entries()[Stdout] == want })
		}
		s.end()
		within(t, "the end", o.Drained())
		assertText(t, "log", p.entries()[Stdout], want)
		s.Close()
	}
}

// TestLossyAfterKeeper opens what the keeper has taken while no engine was there. Nothing of that is lost.
func TestLossyAfterKeeper(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	p.limits.Buffer = 1
	must(t, os.MkdirAll(p.dir, 0o700))
	text := numbered(0, 20_000)
	must(t, os.WriteFile(filepath.Join(p.dir, Stdout), []byte(text), 0o600))
	o := p.open(0)
	o.Start(nil, nil)
	within(t, "the end", o.Drained())
	assertText(t, "log", p.entries()[Stdout], text)
}

// TestLossyFullDisk has a log on a full disk. The process must not wait, and an attached client has all.
func TestLossyFullDisk(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	p.limits.Buffer = 1000
	must(t, os.Symlink("/dev/full", p.log))
	o, s := p.open(0), newStream(t)
	client := followText(t, o)
	o.Start(s, nil)
	text := numbered(0, 20_000)
	s.write(t, text)
	s.end()
	within(t, "the end", o.Drained())
	assertText(t, "attached", client(), text)
	s.Close()
}

// refusedSource is a stream that no disk takes.
type refusedSource struct{ left int64 }

func (s *refusedSource) Splice(dst *os.File, _ int64, most int) (int64, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	if dst.Name() != os.DevNull {
		return 0, unix.ENOSPC
	}
	n := min(s.left, int64(most))
	s.left -= n
	return n, nil
}

// TestLossyRawDisk has no room for the raw output. The process must not wait.
func TestLossyRawDisk(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	p.limits.Buffer = 1000
	o, s := p.open(0), &refusedSource{left: 10 << 20}
	o.Start(s, nil)
	within(t, "the end", o.Drained())
	if s.left != 0 {
		t.Errorf("%d bytes are left", s.left)
	}
}
