package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/api/pkg/stdcopy"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMultiplexer(t *testing.T) {
	var b bytes.Buffer
	m := &Multiplexer{To: &b}
	for range 3 {
		if n, err := m.Stream(stdcopy.Stdout).Write([]byte("out")); n != 3 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := m.Stream(stdcopy.Stderr).Write(nil); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := m.Stream(stdcopy.Stderr).Write([]byte("error")); n != 5 || err != nil {
			t.Fatal(n, err)
		}
	}
	var stdout, stderr bytes.Buffer
	if _, err := stdcopy.StdCopy(&stdout, &stderr, &b); err != nil {
		t.Fatal(err)
	}
	if stdout.String() != "outoutout" || stderr.String() != "errorerrorerror" {
		t.Errorf("stdout %q, stderr %q", &stdout, &stderr)
	}
}

// TestFrame: what is sent past Write is framed as what is written, and only
// where the bytes go over the wire as they are.
func TestFrame(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	bare := &net.UnixConn{}
	var written bytes.Buffer
	if _, err := (&Multiplexer{To: &written}).Stream(stdcopy.Stderr).Write(make([]byte, 70000)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		w    io.Writer
		head []byte
		conn net.Conn
	}{
		"in frames":            {(&Multiplexer{To: bare}).Stream(stdcopy.Stderr), written.Bytes()[:frameHeader], bare},
		"a terminal's":         {Raw{bare}, nil, bare},
		"in frames, no socket": {(&Multiplexer{To: here}).Stream(stdcopy.Stderr), written.Bytes()[:frameHeader], nil},
		"terminal, no socket":  {Raw{here}, nil, nil},
	} {
		head, conn := c.w.(interface {
			Frame(n int) ([]byte, net.Conn)
		}).Frame(70000)
		if !bytes.Equal(head, c.head) || conn != c.conn {
			t.Errorf("%s: head %x, connection %v", name, head, conn)
		}
	}
}

func BenchmarkMultiplexer(b *testing.B) {
	w := (&Multiplexer{To: io.Discard}).Stream(stdcopy.Stdout)
	p := make([]byte, 4096)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Write(p); err != nil {
			b.Fatal(err)
		}
	}
}

// slowClient is a client that takes nothing until open is closed.
type slowClient struct {
	open   chan struct{}
	mu     sync.Mutex
	writes []string
}

func (c *slowClient) Write(p []byte) (int, error) {
	<-c.open
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes = append(c.writes, string(p))
	return len(p), nil
}

// TestBatch writes while an earlier write is on its way: all of that goes out at once.
func TestBatch(t *testing.T) {
	c := &slowClient{open: make(chan struct{})}
	b := NewBatch(c)
	for i := range 100 {
		if _, err := fmt.Fprintf(b, "%02d", i); err != nil {
			t.Fatal(err)
		}
	}
	close(c.open)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	all := strings.Join(c.writes, "")
	if len(all) != 200 || !strings.HasPrefix(all, "000102") || !strings.HasSuffix(all, "9899") {
		t.Errorf("sent %q", all)
	}
	if len(c.writes) > 50 {
		t.Errorf("%d writes for 100 records", len(c.writes))
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a write after Close: %v", err)
	}
}

// TestBatchError has a writer that waits for a client which then is gone.
func TestBatchError(t *testing.T) {
	r, w := io.Pipe()
	b := NewBatch(w)
	failed := make(chan error)
	go func() {
		for {
			if _, err := b.Write(make([]byte, batchBound)); err != nil {
				failed <- err
				return
			}
		}
	}()
	gone := errors.New("gone")
	r.CloseWithError(gone)
	if err := <-failed; !errors.Is(err, gone) {
		t.Errorf("Write: %v", err)
	}
	if err := b.Close(); !errors.Is(err, gone) {
		t.Errorf("Close: %v", err)
	}
}
