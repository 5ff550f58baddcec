package logs

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// spliceUntilKilled is an engine without a log. It moves the FIFO below dir to the client
// at its descriptor 3 until it is killed, or until stdin ends.
func spliceUntilKilled(dir string) {
	fail := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	client, err := net.FileConn(os.NewFile(3, "client"))
	fail(err)
	o, err := Open(Config{Dir: filepath.Join(dir, "raw")})
	fail(err)
	o.patience = longLimit
	f := o.Follow(FollowOptions{Stdout: true})
	copied := make(chan error)
	go func() { copied <- f.Copy(context.Background(), framed{client.(*net.UnixConn), 'o'}, nil) }()
	for waiting := true; waiting; time.Sleep(time.Millisecond) {
		o.mu.Lock()
		waiting = f.state != idle
		o.mu.Unlock()
	}
	stdout := openFIFO(dir, "out")
	o.Start(stdout, nil)
	tellStarted()
	_, _ = os.Stdin.Read(make([]byte, 1))
	stdout.ExitKnown()
	fail(<-copied)
}

// TestKilledWhileSplicing kills engines, one after the other, while a process writes. The
// client of one engine and that of the next one together get the whole stream, each byte
// once, even if a frame was cut.
func TestKilledWhileSplicing(t *testing.T) {
	checkLeaks(t)
	dir := t.TempDir()
	must(t, exec.Command(busybox, "mkfifo", filepath.Join(dir, "out")).Run())
	out, err := os.OpenFile(filepath.Join(dir, "out"), os.O_RDWR, 0)
	must(t, err)
	defer out.Close()
	writer := exec.Command(busybox, "seq", "1", "2000000")
	writer.Stdout = out
	must(t, writer.Start())
	ended := make(chan struct{})
	go func() { _ = writer.Wait(); close(ended) }()
	lines := newCounted(t)
	kills := 0
	for over := false; !over; {
		engine := exec.Command("/proc/self/exe")
		engine.Env = append(os.Environ(), directEnv+"="+dir)
		here, there := socketPair(t)
		file, err := here.File()
		must(t, err)
		engine.ExtraFiles = []*os.File{file}
		got := make(chan struct{})
		go func() { defer close(got); lines.deframe(there) }()
		stdin := awaitStarted(t, engine)
		must(t, file.Close())
		must(t, here.Close())
		select {
		case <-ended:
			over = true
			must(t, stdin.Close())
			must(t, engine.Wait())
		case <-time.After(time.Duration(rand.IntN(60)) * time.Millisecond):
			must(t, engine.Process.Kill())
			_ = engine.Wait()
			_ = stdin.Close()
			kills++
		}
		<-got
		must(t, there.Close())
	}
	lines.finish(2000000)
	if info, err := os.Stat(filepath.Join(dir, "raw", Stdout)); err != nil || info.Size() != 0 {
		t.Errorf("the raw file: %v, %v", info, err)
	}
	t.Logf("%d kills", kills)
	if kills < 3 {
		t.Errorf("only %d kills", kills)
	}
}

// counted checks that its input are the numbers from 1 on, a line each.
type counted struct {
	t    *testing.T
	next int
	line []byte
}

func newCounted(t *testing.T) *counted { return &counted{t: t, next: 1} }

func (c *counted) Write(p []byte) (int, error) {
	for _, b := range p {
		if b != '\n' {
			c.line = append(c.line, b)
			continue
		}
		if want := itoa(c.next); string(c.line) != want && !c.t.Failed() {
			c.t.Errorf("line %.40q in place of %s", c.line, want)
		}
		c.line = c.line[:0]
		c.next++
	}
	return len(p), nil
}

// deframe returns the payload of frames. The last frame may be cut off.
func (c *counted) deframe(conn io.Reader) {
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		var head [5]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		if head[0] != 'o' {
			c.t.Errorf("a frame of stream %q", head[0])
			return
		}
		if _, err := io.CopyN(c, r, int64(binary.BigEndian.Uint32(head[1:]))); err != nil {
			return
		}
	}
}

func (c *counted) finish(last int) {
	c.t.Helper()
	if c.next != last+1 || strings.TrimSpace(string(c.line)) != "" {
		c.t.Errorf("%d lines of %d, then %.40q", c.next-1, last, c.line)
	}
}
