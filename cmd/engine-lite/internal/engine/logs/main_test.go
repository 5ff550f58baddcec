package logs

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	log "github.com/sirupsen/logrus"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/fifo"
)

const (
	busybox    = "/bin/busybox"
	helperEnv  = "LOGS_TEST_HELPER"
	directEnv  = "LOGS_TEST_DIRECT"
	maxSizeEnv = "LOGS_TEST_MAX_SIZE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperEnv); dir != "" {
		maxSize, err := strconv.ParseInt(os.Getenv(maxSizeEnv), 10, 64)
		if err != nil {
			panic(err)
		}
		encodeUntilKilled(dir, maxSize)
		return
	}
	if dir := os.Getenv(directEnv); dir != "" {
		spliceUntilKilled(dir)
		return
	}
	log.SetOutput(io.Discard)
	// The runtime opens its poller's descriptors with the first pipe.
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	r.Close()
	w.Close()
	goleak.VerifyTestMain(m)
}

// checkLeaks fails the test if a goroutine or descriptor is left at its end.
func checkLeaks(t testing.TB) {
	t.Helper()
	before := descriptors(t)
	t.Cleanup(func() {
		goleak.VerifyNone(t)
		if after := descriptors(t); len(after) != len(before) {
			t.Errorf("descriptors before: %v, after: %v", before, after)
		}
	})
}

func descriptors(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	var open []string
	for _, entry := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil {
			open = append(open, entry.Name()+"="+target)
		}
	}
	return open
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within fails the test if c isn't closed soon.
func within(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("waited in vain for: %s", what)
	}
}

func waitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// place is the directory of a test's output, across several Opens.
type place struct {
	t      testing.TB
	dir    string
	log    string
	limits Log // without a path
}

func newPlace(t testing.TB) *place {
	dir := t.TempDir()
	return &place{t: t, dir: filepath.Join(dir, "raw"), log: filepath.Join(dir, "x-json.log")}
}

func (p *place) open(bound int64) *Output {
	p.t.Helper()
	l := p.limits
	l.Path = p.log
	o, err := Open(Config{Dir: p.dir, Log: l, Bound: bound})
	must(p.t, err)
	p.t.Cleanup(func() {
		if err := o.Close(); err != nil {
			p.t.Error(err)
		}
	})
	return o
}

// encoded is appendRecords without attributes and without a bound.
func encoded(out, in []byte, stream string, now time.Time, last bool) ([]byte, int) {
	return appendRecords(out, in, form{stream: stream, time: now}, last, math.MaxInt64)
}

// entries returns the log's text by stream, with all lines joined.
func (p *place) entries() map[string]string {
	p.t.Helper()
	all := map[string][]byte{}
	must(p.t, Read(context.Background(), p.log, ReadOptions{Stdout: true, Stderr: true, Tail: -1}, func(e Entry) error {
		all[e.Stream] = append(all[e.Stream], e.Line...)
		return nil
	}))
	return map[string]string{Stdout: string(all[Stdout]), Stderr: string(all[Stderr])}
}

// stream is a FIFO. The test is its writer.
type stream struct {
	*fifo.Reader
	w   *os.File
	set *fifo.Set
}

func newStream(t testing.TB) *stream {
	t.Helper()
	set, err := fifo.Create(filepath.Join(t.TempDir(), "io"),
		fifo.Config{UID: os.Geteuid(), GID: os.Getegid(), Stdout: true})
	must(t, err)
	reader, err := set.OpenStdout(context.Background())
	must(t, err)
	w, err := os.OpenFile(set.Paths().Stdout, os.O_WRONLY, 0)
	must(t, err)
	s := &stream{Reader: reader, w: w, set: set}
	t.Cleanup(func() { s.end(); _ = reader.Close(); _ = set.Remove() })
	return s
}

// end closes the stream, like the process's exit.
func (s *stream) end() {
	_ = s.w.Close()
	s.ExitKnown()
}

func (s *stream) write(t testing.TB, text string) {
	t.Helper()
	_, err := io.WriteString(s.w, text)
	must(t, err)
}

// numbered returns so many numbered lines.
func numbered(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "line %d of the \"numbered\" ones\n", i)
	}
	return b.String()
}

// lockedBuffer is a client that stores what it reads.
type lockedBuffer struct {
	mu  sync.Mutex
	buf []byte
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p...)
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.buf)
}

func (b *lockedBuffer) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.buf)
}

// allocated is the number of bytes that a file uses on its disk.
func allocated(t testing.TB, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return st.Blocks * 512
}

// run starts a program that writes to the stream and ends it.
func (s *stream) run(t testing.TB, program string, args ...string) (wait func()) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Stdout = s.w
	must(t, cmd.Start())
	return func() { _ = cmd.Wait(); s.end() }
}
