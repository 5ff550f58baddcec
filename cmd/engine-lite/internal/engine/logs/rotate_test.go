package logs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// limited is a place whose log is rotated.
func limited(t testing.TB, size int64, files int, compress bool) *place {
	p := newPlace(t)
	p.limits = Log{MaxSize: size, MaxFiles: files, Compress: compress}
	return p
}

// files are the names of the log's files, without that of the log, sorted.
func (p *place) files() (names []string) {
	p.t.Helper()
	all, err := filepath.Glob(p.log + "*")
	must(p.t, err)
	for _, name := range all {
		names = append(names, strings.TrimPrefix(name, p.log))
	}
	return names
}

// TestRotation checks the names, the lengths and the content of the files.
func TestRotation(t *testing.T) {
	for name, c := range map[string]struct {
		files    int
		compress bool
		want     []string
	}{
		"one file":   {1, false, []string{""}},
		"two":        {2, false, []string{"", ".1"}},
		"three":      {3, false, []string{"", ".1", ".2"}},
		"compressed": {4, true, []string{"", ".1.gz", ".2.gz", ".3.gz"}},
	} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			p := limited(t, 2000, c.files, c.compress)
			text := numbered(0, 200)
			logText(t, p, text)
			if got := p.files(); !slices.Equal(got, c.want) {
				t.Errorf("files %q, want %q", got, c.want)
			}
			got := p.entries()[Stdout]
			if !strings.HasSuffix(text, got) || len(got) == 0 || got[:5] != "line " {
				t.Fatalf("the log has %.100q ...", got)
			}
			for _, name := range p.files() {
				info, err := os.Stat(p.log + name)
				must(t, err)
				if !strings.HasSuffix(name, ".gz") && info.Size() > 2000+200 || info.Mode().Perm()&0o027 != 0 {
					t.Errorf("%s has %d bytes and mode %v", name, info.Size(), info.Mode())
				}
			}
			if lines := strings.Count(got, "\n"); lines < 14*(c.files-1) || lines > 20*c.files {
				t.Errorf("%d lines in %d files", lines, c.files)
			}
			for tail := range 70 {
				want := strings.SplitAfter(strings.TrimSuffix(got, "\n"), "\n")
				want = want[max(0, len(want)-tail):]
				o := ReadOptions{Stdout: true, Stderr: true, Tail: tail}
				if tailed := strings.TrimSuffix(readLog(t, p.log, o), "\n"); tailed != strings.Join(want, "") {
					t.Errorf("tail %d: %q, want %q", tail, tailed, want)
				}
			}
		})
	}
}

// TestReadRotated reads by time and number in files that were rotated, one of them compressed and one damaged.
func TestReadRotated(t *testing.T) {
	at := func(i int) time.Time { return moment.Add(time.Duration(i) * time.Second) }
	path := filepath.Join(t.TempDir(), "log")
	for i := range 3 { // 0 to 9, 10 to 19, 20 to 29
		var out []byte
		for k := i * 10; k < i*10+10; k++ {
			out, _ = encoded(out, fmt.Appendf(nil, "%d ", k), []string{Stdout, Stderr}[k%2], at(k), true)
		}
		name := rotated(path, 2-i)
		must(t, os.WriteFile(name, out, 0o600))
		must(t, os.Chtimes(name, at(i*10+9), at(i*10+9)))
	}
	must(t, compress(t.Context(), rotated(path, 1)))
	both := ReadOptions{Stdout: true, Stderr: true, Tail: -1}
	check := func(what, want string, change func(o *ReadOptions)) {
		t.Helper()
		o := both
		change(&o)
		if got := readLog(t, path, o); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	check("since, until", "8 9 10 11 ", func(o *ReadOptions) { o.Since, o.Until = at(8), at(11) })
	check("since", "19 20 21 22 23 24 25 26 27 28 29 ", func(o *ReadOptions) { o.Since = at(19) })
	check("tail, until", "8 9 10 11 12 ", func(o *ReadOptions) { o.Tail, o.Until = 5, at(12) })
	check("tail, until before", "3 4 5 ", func(o *ReadOptions) { o.Tail, o.Until = 3, at(5) })
	check("tail, since", "15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 ", func(o *ReadOptions) { o.Tail, o.Since = 100, at(15) })
	check("tail of stderr", "17 19 21 23 25 27 29 ", func(o *ReadOptions) { o.Tail, o.Stdout = 7, false })
	check("no tail", "", func(o *ReadOptions) { o.Tail = 0 })

	must(t, os.Remove(path)) // a kill within a rotation
	check("tail without a current file", "18 19 ", func(o *ReadOptions) { o.Tail = 2 })
	check("no tail without a current file", "", func(o *ReadOptions) { o.Tail = 0 })
	must(t, os.Truncate(compressed(rotated(path, 1)), 30))
	must(t, os.WriteFile(path, nil, 0o600))
	check("damaged", "0 1 2 3 4 5 6 7 8 9 ", func(o *ReadOptions) {})
}

// TestFollowRotation follows a log that is rotated often, from the log and as an attached client.
func TestFollowRotation(t *testing.T) {
	for _, compress := range []bool{false, true} {
		checkLeaks(t)
		p := limited(t, 1000, 1<<20, compress)
		o, s := p.open(0), newStream(t)
		o.Start(s, nil)
		first, text := numbered(0, 50), numbered(0, 300)
		s.write(t, first)
		waitLogged(t, o, 0, int64(len(first)))
		client, read, tailed := &lockedBuffer{}, &lockedBuffer{}, &lockedBuffer{}
		ended := make(chan error, 3)
		f := o.Follow(FollowOptions{Stdout: true, Stderr: true, Logged: true})
		go func() { ended <- f.Copy(t.Context(), client, nil) }()
		for tail, to := range map[int]*lockedBuffer{-1: read, 5: tailed} {
			go func() {
				want := ReadOptions{Stdout: true, Tail: tail, Output: o, Follow: true}
				ended <- Read(t.Context(), p.log, want, func(e Entry) error { _, err := to.Write(e.Line); return err })
			}()
		}
		waitFor(t, "the readers", func() bool { return tailed.len() > 0 && read.len() == len(first) })
		s.write(t, text[len(first):])
		s.end()
		within(t, "the end", o.Drained())
		for range 3 {
			must(t, <-ended)
		}
		must(t, f.Close())
		assertText(t, "read", read.String(), text)
		assertText(t, "attached", client.String(), text)
		assertText(t, "tailed", tailed.String(), numbered(45, 300))
		must(t, o.Close())
		assertText(t, "log", p.entries()[Stdout], text)
		if n := len(p.files()); n < 20 {
			t.Errorf("only %d files", n)
		}
		s.Close()
	}
}

// TestFollowerWithoutFiles reads so slowly that what is next is gone. It must not go on with a gap.
func TestFollowerWithoutFiles(t *testing.T) {
	checkLeaks(t)
	p := limited(t, 1000, 3, false)
	o, s := p.open(0), newStream(t)
	o.Start(s, nil)
	s.write(t, numbered(0, 1))
	waitLogged(t, o, 0, 30)
	reading, goOn := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		want := ReadOptions{Stdout: true, Tail: -1, Output: o, Follow: true}
		ended <- Read(t.Context(), p.log, want, func(e Entry) error {
			if string(e.Line) == numbered(0, 1) {
				close(reading)
				<-goOn
			}
			return nil
		})
	}()
	within(t, "the reader", reading)
	f := o.Follow(FollowOptions{Stdout: true, Logged: true})
	s.write(t, numbered(1, 200))
	s.end()
	within(t, "the end", o.Drained())
	close(goOn)
	if err := <-ended; !errors.Is(err, ErrLagging) {
		t.Errorf("read: %v", err)
	}
	if err := f.Copy(t.Context(), io.Discard, nil); !errors.Is(err, ErrLagging) {
		t.Errorf("attached: %v", err)
	}
	must(t, f.Close())
}

// TestRotationKilled is a kill between any two steps of a rotation. What is read then, and after the next engine has gone
// on, must be whole, and no file may go that would have stayed without the kill.
func TestRotationKilled(t *testing.T) {
	p := limited(t, 500, 4, false)
	logText(t, p, numbered(0, 60))
	if files := p.files(); len(files) != 4 {
		t.Fatalf("files %q", files)
	}
	p.limits.MaxSize = 1 // so the log is full
	for form, prepare := range map[string]func(l Log) error{
		"plain":      func(Log) error { return nil },
		"compressed": func(l Log) error { return l.compressRotated(t.Context()) },
		"both forms": func(l Log) error {
			first := rotated(l.Path, 1)
			plain, err := os.ReadFile(first)
			return errors.Join(err, l.compressRotated(t.Context()), os.WriteFile(first, plain, 0o600),
				os.WriteFile(compressed(first)+".new", []byte("half"), 0o600))
		},
	} {
		template := p.copied()
		l := template.limits
		l.Path = template.log
		must(t, prepare(l))
		for _, compress := range []bool{false, true} {
			kills := 0
			for kill := 0; kill <= kills; kill++ {
				q := template.copied()
				q.limits.Compress = compress
				l := q.limits
				l.Path = q.log
				steps := l.shelving()
				kills = len(steps) + 1
				all := q.entries()[Stdout]
				oldest, err := openParts(q.log, 3, 1, time.Time{})
				must(t, err)
				dropped := 0
				must(t, oldest[0].read(t.Context(), ReadOptions{Stdout: true}, func(e Entry) error { dropped += len(e.Line); return nil }))
				oldest.close()
				for _, step := range steps[:min(kill, len(steps))] {
					must(t, step.do())
				}
				if kill > len(steps) {
					must(t, os.WriteFile(q.log, nil, 0o600))
				}
				what := fmt.Sprintf("%s, compress %v, killed before step %d of %q", form, compress, kill, steps)
				if got := q.entries()[Stdout]; got != all && (kill == 0 || got != all[dropped:]) {
					t.Errorf("%s: %q, want %q", what, got, all)
				}
				logText(t, q, "last\n")
				assertText(t, what, q.entries()[Stdout], all[dropped:]+"last\n")
				want := []string{"", ".1", ".2", ".3"}
				if compress {
					want = []string{"", ".1.gz", ".2.gz", ".3.gz"}
				} else if form != "plain" {
					want = []string{"", ".1", ".2.gz", ".3.gz"}
				}
				if got := slices.DeleteFunc(q.files(), func(s string) bool { return strings.HasSuffix(s, ".new") }); !slices.Equal(got, want) {
					t.Errorf("%s: files %q, want %q", what, got, want)
				}
			}
		}
	}
}

// copied is a place with the same files.
func (p *place) copied() *place {
	p.t.Helper()
	dir := p.t.TempDir()
	must(p.t, os.CopyFS(dir, os.DirFS(filepath.Dir(p.log))))
	return &place{t: p.t, dir: filepath.Join(dir, filepath.Base(p.dir)), log: filepath.Join(dir, filepath.Base(p.log)), limits: p.limits}
}

// TestRotationRetried has the file system refuse a step of a rotation. The output must wait, and go on where it stood.
func TestRotationRetried(t *testing.T) {
	checkLeaks(t)
	p := limited(t, 1, 3, false)
	o, s := p.open(0), newStream(t)
	o.Start(s, nil)
	s.write(t, "one\n")
	waitLogged(t, o, 0, 4)
	block := rotated(p.log, 2)
	must(t, os.MkdirAll(filepath.Join(block, "full"), 0o700)) // can't be removed
	s.write(t, "two\n")
	waitLogged(t, o, 0, 8) // there was room for it
	s.write(t, "three\n")
	time.Sleep(100 * time.Millisecond)
	if current, err := os.ReadFile(p.log); err != nil || !strings.Contains(string(current), "two") {
		t.Errorf("while it waits: %q, %v", current, err)
	}
	must(t, os.Remove(filepath.Join(block, "full")))
	s.end()
	within(t, "the end", o.Drained())
	assertText(t, "log", p.entries()[Stdout], "one\ntwo\nthree\n")
}

// TestCloseCompresses closes an output that has all in its log: nothing stays uncompressed. One that hasn't leaves the
// rest to the next one.
func TestCloseCompresses(t *testing.T) {
	checkLeaks(t)
	p := limited(t, 100_000, 100, true)
	text := numbered(0, 5000)
	logText(t, p, text)
	if files := p.files(); len(files) < 4 || slices.Contains(files, ".1") {
		t.Errorf("files %q", files)
	}
	plain, err := openParts(p.log, 2, 1, time.Time{})
	must(t, err)
	defer plain.close()
	content, err := io.ReadAll(&unpacker{file: plain[0].file})
	must(t, err)
	must(t, os.WriteFile(rotated(p.log, 2), content, 0o600))
	must(t, os.Remove(compressed(rotated(p.log, 2))))
	logText(t, p, "last\n")
	if slices.Contains(p.files(), ".2") {
		t.Errorf("files %q", p.files())
	}
	assertText(t, "log", p.entries()[Stdout], text+"last\n")
}

// TestFollowRemovedLog attaches where somebody has removed the log. What comes from then on must still come.
func TestFollowRemovedLog(t *testing.T) {
	checkLeaks(t)
	p := limited(t, 1<<20, 2, false)
	o, s := p.open(0), newStream(t)
	o.Start(s, nil)
	s.write(t, "one\n")
	waitLogged(t, o, 0, 4)
	must(t, os.Remove(p.log))
	var client lockedBuffer
	f := o.Follow(FollowOptions{Stdout: true, Logged: true})
	ended := make(chan error, 1)
	go func() { ended <- f.Copy(t.Context(), &client, nil) }()
	s.write(t, "two\n")
	s.end()
	must(t, <-ended)
	must(t, f.Close())
	assertText(t, "attached", client.String(), "two\n")
	if err := Read(t.Context(), p.log, ReadOptions{Stdout: true, Tail: -1, Output: o}, func(Entry) error { return nil }); err != nil {
		t.Errorf("read: %v", err)
	}
	s.Close()
}
