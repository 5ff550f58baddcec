package logs

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a client's connection without frames.
type socket struct{ *net.UnixConn }

func (s socket) Frame(int) ([]byte, net.Conn) { return nil, s.UnixConn }

// framed is a client's connection with frames: the stream's number and the length of the
// payload.
type framed struct {
	conn *net.UnixConn
	name byte
}

func (s framed) Frame(n int) ([]byte, net.Conn) {
	return binary.BigEndian.AppendUint32([]byte{s.name}, uint32(n)), s.conn
}

func (s framed) Write(p []byte) (int, error) {
	head, conn := s.Frame(len(p))
	n, err := conn.Write(append(head, p...))
	return max(n-len(head), 0), err
}

// patient is longer than any wait on an overloaded machine.
const longLimit = time.Hour

// directOutput is an output without a log, with a follower that copies to a connection in
// frames. copied gets the result of Copy.
type directOutput struct {
	t             *testing.T
	o             *Output
	f             *Follower
	out, err      *stream
	client        *net.UnixConn // the peer's end
	conn          *net.UnixConn
	cancel        context.CancelFunc
	copied        chan error
	stdout, stder strings.Builder
}

func newDirectOutput(t *testing.T, patience time.Duration) *directOutput {
	checkLeaks(t)
	p := newPlace(t)
	p.log = ""
	d := &directOutput{t: t, o: p.open(0), out: newStream(t), err: newStream(t), copied: make(chan error, 1)}
	d.conn, d.client = socketPair(t)
	t.Cleanup(func() { d.conn.Close(); d.client.Close() })
	d.o.patience = patience
	d.f = d.o.Follow(FollowOptions{Stdout: true, Stderr: true})
	var ctx context.Context
	ctx, d.cancel = context.WithCancel(t.Context())
	t.Cleanup(d.cancel)
	go func() {
		err := d.f.Copy(ctx, framed{d.conn, 'o'}, framed{d.conn, 'e'})
		d.conn.CloseWrite()
		d.copied <- err
	}()
	waitFor(t, "the follower", func() bool { return d.state() == idle || d.state() == busy && d.offered() })
	d.o.Start(d.out, d.err)
	return d
}

func (d *directOutput) state() followerState {
	d.o.mu.Lock()
	defer d.o.mu.Unlock()
	return d.f.state
}

func (d *directOutput) offered() bool {
	d.o.mu.Lock()
	defer d.o.mu.Unlock()
	return d.f.sockets != nil
}

// stuck waits until the client's connection is full.
func (d *directOutput) stuck() {
	d.t.Helper()
	waitFor(d.t, "a full client", func() bool {
		d.o.mu.Lock()
		defer d.o.mu.Unlock()
		return (d.f.state == full || d.f.state == busy) && d.f.frame.left > 0
	})
}

// readFrame reads a frame from the client's connection. It returns false at the end.
func (d *directOutput) readFrame() bool {
	d.t.Helper()
	var head [5]byte
	if _, err := io.ReadFull(d.client, head[:]); errors.Is(err, io.EOF) {
		return false
	} else if err != nil {
		d.t.Fatal(err)
	}
	payload := make([]byte, binary.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(d.client, payload); err != nil {
		d.t.Fatal(err)
	}
	switch head[0] {
	case 'o':
		d.stdout.Write(payload)
	case 'e':
		d.stder.Write(payload)
	default:
		d.t.Fatalf("a frame of stream %q", head[0])
	}
	return true
}

// finish reads to the end and compares the text.
func (d *directOutput) finish(stdout, stderr string) {
	d.t.Helper()
	for d.readFrame() {
	}
	must(d.t, <-d.copied)
	must(d.t, d.f.Close())
	assertText(d.t, "stdout", d.stdout.String(), stdout)
	assertText(d.t, "stderr", d.stder.String(), stderr)
}

func (d *directOutput) inFile(i int) int64 { return d.o.sizeOf(d.o.streams[i]) }

// TestDirect sends both streams to a client, whole and in frames, without the raw files.
func TestDirect(t *testing.T) {
	d := newDirectOutput(t, longLimit)
	want, wantErr := numbered(0, 200000), numbered(500000, 600000)
	go func() { _, _ = io.WriteString(d.out.w, want); d.out.end() }()
	go func() { _, _ = io.WriteString(d.err.w, wantErr); d.err.end() }()
	d.finish(want, wantErr)
	within(t, "the end", d.o.Drained())
	if d.inFile(0) != 0 || d.inFile(1) != 0 {
		t.Errorf("%d and %d bytes went through files", d.inFile(0), d.inFile(1))
	}
}

// TestDirectBeyondExit has a client that reads nothing while the process exits. The client
// gets the rest from the raw file, beginning with the rest of a frame.
func TestDirectBeyondExit(t *testing.T) {
	d := newDirectOutput(t, longLimit)
	want := numbered(0, 15000) // 0.5 MB: a socket holds less, with the pipe it holds more
	d.out.write(t, want)
	d.stuck()
	d.err.write(t, "an error")
	d.out.end()
	d.err.end()
	d.o.Exited()
	within(t, "the end", d.o.Drained())
	if d.inFile(0) == 0 {
		t.Error("nothing went through the file")
	}
	d.finish(want, "an error")
}

// TestDirectStuckClient has a client that reads nothing. The writer goes on up to the
// limit. The client gets everything when it reads, and then directly again.
func TestDirectStuckClient(t *testing.T) {
	d := newDirectOutput(t, 10*time.Millisecond)
	want, wantErr := numbered(0, 200000), numbered(0, 5000)
	d.out.write(t, want)
	d.err.write(t, wantErr)
	waitFor(t, "room in the pipes", func() bool { return d.inFile(0) > 0 && d.inFile(1) == int64(len(wantErr)) })
	for d.stdout.Len() < len(want) || d.stder.Len() < len(wantErr) {
		d.readFrame()
	}
	through := d.inFile(0)
	if through == int64(len(want)) {
		t.Error("nothing was spliced to the client")
	}
	waitFor(t, "an idle client", func() bool { return d.state() == idle })
	d.out.write(t, "later")
	d.out.end()
	d.err.end()
	d.finish(want+"later", wantErr)
	if d.inFile(0) != through {
		t.Error("the end went through the file")
	}
}

// TestDirectUntilAnotherFollows has a client that reads nothing when a second client
// comes. The second one gets everything from then on, and the first one misses nothing.
func TestDirectUntilAnotherFollows(t *testing.T) {
	d := newDirectOutput(t, longLimit)
	want := numbered(0, 15000)
	d.out.write(t, want)
	d.stuck()
	var live lockedBuffer
	second := d.o.Follow(FollowOptions{Stdout: true})
	followed := make(chan error, 1)
	go func() { followed <- second.Copy(t.Context(), &live, nil) }()
	waitFor(t, "the second client", func() bool { return live.len() > 0 && strings.HasSuffix(want, live.String()) })
	d.out.write(t, "the end")
	d.out.end()
	d.err.end()
	d.finish(want+"the end", "")
	must(t, <-followed)
	must(t, second.Close())
	if got := live.String(); !strings.HasSuffix(want+"the end", got) || len(got) < len("the end") {
		t.Errorf("the second client got %d bytes", len(got))
	}
}

// TestDirectClientGoes ends the client. Output that the client has not read stays in the
// pipe, and later output goes to the file.
func TestDirectClientGoes(t *testing.T) {
	for name, leave := range map[string]func(*directOutput){
		"idle, cancelled": func(d *directOutput) { d.cancel() },
		"idle, closed":    func(d *directOutput) { d.client.Close(); d.out.write(t, "x") },
		"full, closed": func(d *directOutput) {
			d.out.write(t, numbered(0, 15000))
			d.stuck()
			d.client.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDirectOutput(t, longLimit)
			d.out.write(t, "first")
			for d.stdout.Len() < len("first") {
				d.readFrame()
			}
			leave(d)
			if err := <-d.copied; !errors.Is(err, context.Canceled) && !errors.Is(err, unix.EPIPE) &&
				!errors.Is(err, unix.ECONNRESET) {
				t.Errorf("Copy: %v", err)
			}
			must(t, d.f.Close())
			before := d.inFile(0)
			d.out.write(t, "more")
			waitFor(t, "what comes then", func() bool { return d.inFile(0) >= before+int64(len("more")) })
			d.out.end()
			d.err.end()
			within(t, "the end", d.o.Drained())
		})
	}
}

// TestDirectClosed closes an output while it waits for a client whose connection is full.
func TestDirectClosed(t *testing.T) {
	d := newDirectOutput(t, longLimit)
	d.out.write(t, numbered(0, 15000))
	d.stuck()
	must(t, errors.Join(d.out.Close(), d.err.Close()))
	must(t, d.o.Close())
	d.conn.Close()
	if err := <-d.copied; err == nil || errors.Is(err, io.EOF) {
		t.Errorf("Copy: %v", err)
	}
	must(t, d.f.Close())
}

// TestDirectStolenBytes lets the container read its own output between a frame's header
// and its payload. The client notices that the frame is not whole.
func TestDirectStolenBytes(t *testing.T) {
	d := newDirectOutput(t, longLimit)
	d.out.write(t, numbered(0, 15000))
	d.stuck()
	thief, err := os.OpenFile(d.out.set.Paths().Stdout, os.O_RDONLY|unix.O_NONBLOCK, 0)
	must(t, err)
	_, err = io.ReadFull(thief, make([]byte, 64<<10))
	must(t, errors.Join(err, thief.Close()))
	d.out.end()
	d.err.end()
	drained := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, d.client); drained <- err }()
	if err := <-d.copied; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Copy: %v", err)
	}
	must(t, <-drained)
	within(t, "the end", d.o.Drained())
	must(t, d.f.Close())
}
