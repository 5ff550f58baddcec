package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// writeLog makes a log with ten entries, one each second. Every third is of stderr.
func writeLog(t testing.TB, more string) string {
	t.Helper()
	var log []byte
	for i := range 10 {
		stream := Stdout
		if i%3 == 2 {
			stream = Stderr
		}
		log, _ = encoded(log, fmt.Appendf(nil, "%d", i), stream, moment.Add(time.Duration(i)*time.Second), true)
	}
	path := filepath.Join(t.TempDir(), "log")
	must(t, os.WriteFile(path, append(log, more...), 0o600))
	return path
}

// readLog returns the texts of all entries, joined.
func readLog(t testing.TB, path string, o ReadOptions) string {
	t.Helper()
	var all strings.Builder
	must(t, Read(t.Context(), path, o, func(e Entry) error {
		all.Write(e.Line)
		return nil
	}))
	return all.String()
}

func TestRead(t *testing.T) {
	at := func(i int) time.Time { return moment.Add(time.Duration(i) * time.Second) }
	for name, c := range map[string]struct {
		o    ReadOptions
		want string
	}{
		"all":                {ReadOptions{Stdout: true, Stderr: true, Tail: -1}, "0123456789"},
		"nothing":            {ReadOptions{Tail: -1}, ""},
		"stdout":             {ReadOptions{Stdout: true, Tail: -1}, "0134679"},
		"stderr":             {ReadOptions{Stderr: true, Tail: -1}, "258"},
		"tail":               {ReadOptions{Stdout: true, Stderr: true, Tail: 3}, "789"},
		"tail of all":        {ReadOptions{Stdout: true, Stderr: true, Tail: 10}, "0123456789"},
		"long tail":          {ReadOptions{Stdout: true, Stderr: true, Tail: 100}, "0123456789"},
		"no tail":            {ReadOptions{Stdout: true, Stderr: true, Tail: 0}, ""},
		"tail of stderr":     {ReadOptions{Stderr: true, Tail: 2}, "58"},
		"since":              {ReadOptions{Stdout: true, Stderr: true, Tail: -1, Since: at(7)}, "789"},
		"since between":      {ReadOptions{Stdout: true, Stderr: true, Tail: -1, Since: at(7).Add(1)}, "89"},
		"since later":        {ReadOptions{Stdout: true, Stderr: true, Tail: -1, Since: at(70)}, ""},
		"until":              {ReadOptions{Stdout: true, Stderr: true, Tail: -1, Until: at(2)}, "012"},
		"until earlier":      {ReadOptions{Stdout: true, Stderr: true, Tail: -1, Until: at(-1)}, ""},
		"since and until":    {ReadOptions{Stdout: true, Stderr: true, Tail: -1, Since: at(3), Until: at(5)}, "345"},
		"tail and since":     {ReadOptions{Stdout: true, Stderr: true, Tail: 5, Since: at(8)}, "89"},
		"tail and until":     {ReadOptions{Stdout: true, Stderr: true, Tail: 2, Until: at(5)}, "45"},
		"tail, since, until": {ReadOptions{Stdout: true, Stderr: true, Tail: 2, Since: at(1), Until: at(5)}, "45"},
	} {
		for tail, more := range map[string]string{
			"": "", " torn": `{"log":"torn`,
			" torn before newline": `{"log":"x","stream":"stdout","time":"2026-02-03T04:05:06Z"}`,
			" garbage":             "garbage\n\n\x00\n",
			" long garbage":        strings.Repeat("\x00", 3*longestRecord+5) + "\n",
			" endless garbage":     strings.Repeat("y", 2*longestRecord),
		} {
			t.Run(name+tail, func(t *testing.T) {
				if got := readLog(t, writeLog(t, more), c.o); got != c.want {
					t.Errorf("%q, want %q", got, c.want)
				}
			})
		}
	}
}

// TestReadAroundGarbage reads a log that is damaged in the middle.
func TestReadAroundGarbage(t *testing.T) {
	first, err := os.ReadFile(writeLog(t, ""))
	must(t, err)
	for _, garbage := range []string{"x\n", strings.Repeat("\x00", longestRecord) + "\n",
		strings.Repeat("z", 5*longestRecord) + "\n"} {
		path := filepath.Join(t.TempDir(), "log")
		must(t, os.WriteFile(path, append(append(bytes.Clone(first), garbage...), first...), 0o600))
		for tail, want := range map[int]string{-1: "01234567890123456789", 12: "890123456789", 10: "0123456789",
			11: "90123456789"} {
			if got := readLog(t, path, ReadOptions{Stdout: true, Stderr: true, Tail: tail}); got != want {
				t.Errorf("tail %d around %d bytes: %q, want %q", tail, len(garbage), got, want)
			}
		}
	}
}

func TestReadMissing(t *testing.T) {
	checkLeaks(t)
	if got := readLog(t, filepath.Join(t.TempDir(), "log"), ReadOptions{Stdout: true, Tail: -1}); got != "" {
		t.Errorf("read %q", got)
	}
}

func TestReadEnds(t *testing.T) {
	checkLeaks(t)
	path := writeLog(t, "")
	all := ReadOptions{Stdout: true, Stderr: true, Tail: -1}
	stop := errors.New("stop")
	if err := Read(t.Context(), path, all, func(Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("stopped: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Read(ctx, path, all, func(Entry) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestTailAtBlockBorders finds each line of a log of many blocks.
func TestTailAtBlockBorders(t *testing.T) {
	var log []byte
	var starts []int64
	for i := range 3000 {
		starts = append(starts, int64(len(log)))
		log, _ = encoded(log, bytes.Repeat([]byte("x"), i*7%301), Stdout, moment, true)
		if i*7%301 == 0 { // an empty text has no record
			starts = starts[:len(starts)-1]
		}
	}
	for _, n := range []int{0, 1, 2, 500, 1234, len(starts) - 1, len(starts)} {
		got, found, _, err := tailOffset(bytes.NewReader(log), int64(len(log)), ReadOptions{Stdout: true}, n)
		must(t, err)
		want := int64(len(log))
		if n > 0 {
			want = starts[len(starts)-n]
		}
		if got != want || found != n {
			t.Errorf("tail %d begins at %d with %d, want %d", n, got, found, want)
		}
	}
}

// TestReadFollow follows until the process has ended.
func TestReadFollow(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	logText(t, p, "earlier run\n")
	o, s := p.open(0), newStream(t)
	var all lockedBuffer
	ended := make(chan error, 1)
	go func() {
		ended <- Read(context.Background(), p.log, ReadOptions{Stdout: true, Tail: 1, Output: o, Follow: true}, func(e Entry) error {
			_, err := all.Write(e.Line)
			return err
		})
	}()
	waitFor(t, "the earlier run", func() bool { return all.len() == 12 })
	o.Start(s, nil)
	want := "earlier run\n"
	for i := range 300 {
		s.write(t, numbered(i, i+1))
		want += numbered(i, i+1)
		if i%50 == 0 {
			waitFor(t, "the line", func() bool { return all.len() == len(want) })
		}
	}
	s.write(t, "end")
	s.end()
	must(t, <-ended)
	assertText(t, "read", all.String(), want+"end")
}

// TestReadFollowEnds ends a follower by its context, by Until, with the output, and at
// once where nothing is logged.
func TestReadFollowEnds(t *testing.T) {
	checkLeaks(t)
	for name, c := range map[string]struct {
		end  func(*Output, context.CancelFunc)
		want error
		o    ReadOptions
	}{
		"cancelled": {end: func(_ *Output, cancel context.CancelFunc) { cancel() }, want: context.Canceled},
		"closed":    {end: func(o *Output, _ context.CancelFunc) { _ = o.Close() }},
		"removed":   {end: func(o *Output, _ context.CancelFunc) { _ = o.Remove() }},
		"until": {end: func(*Output, context.CancelFunc) {},
			o: ReadOptions{Until: time.Now().Add(20 * time.Millisecond)}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			o := p.open(0)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			options := c.o
			options.Stdout, options.Tail, options.Output, options.Follow = true, -1, o, true
			ended := make(chan error, 1)
			go func() { ended <- Read(ctx, p.log, options, func(Entry) error { return nil }) }()
			c.end(o, cancel)
			if err := <-ended; !errors.Is(err, c.want) {
				t.Errorf("read: %v", err)
			}
		})
	}
	p := newPlace(t)
	p.log = ""
	must(t, Read(t.Context(), "", ReadOptions{Tail: -1, Output: p.open(0), Follow: true}, func(Entry) error { return nil }))
}

// TestBackoff checks that the pause doubles up to five seconds, and ends with its context.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delay := newBackoff()
		if !delay.First() {
			t.Error("not the first")
		}
		for _, want := range []int{50, 100, 200, 400, 800, 1600, 3200, 5000, 5000} {
			begin := time.Now()
			must(t, delay.Wait(t.Context()))
			if got := time.Since(begin).Milliseconds(); got != int64(want) || delay.First() {
				t.Errorf("waited %d ms, want %d", got, want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := delay.Wait(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
