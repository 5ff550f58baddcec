package logs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// stuckClient reads nothing until it is released.
type stuckClient struct {
	lockedBuffer
	busy, free chan struct{}
	once       sync.Once
}

func newStuckClient() *stuckClient {
	return &stuckClient{busy: make(chan struct{}), free: make(chan struct{})}
}

func (c *stuckClient) Write(p []byte) (int, error) {
	c.once.Do(func() { close(c.busy) })
	<-c.free
	return c.lockedBuffer.Write(p)
}

// TestStuckClientBesideLog has a log and a client that reads nothing. The client delays
// neither the writer nor the end, and gets an error that says that it lagged.
func TestStuckClientBesideLog(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	const bound = 4 << 20
	o, s := p.open(bound), newStream(t)
	f, quick := o.Follow(FollowOptions{Stdout: true}), o.Follow(FollowOptions{Stdout: true})
	client := newStuckClient()
	copied := make(chan error, 1)
	go func() { copied <- f.Copy(context.Background(), client, nil) }()
	var live lockedBuffer
	followed := make(chan error, 1)
	go func() { followed <- quick.Copy(context.Background(), &live, nil) }()
	o.Start(s, nil)
	s.write(t, "start\n")
	within(t, "the first write", client.busy)
	want := numbered(0, 100000)
	for i := 0; i < len(want); i += 1 << 20 { // not faster than the other client
		s.write(t, want[i:min(i+1<<20, len(want))])
		waitFor(t, "the quick client", func() bool { return live.len() > i })
	}
	for range 16 {
		s.write(t, strings.Repeat(strings.Repeat("y", 1023)+"\n", 1024))
	}
	s.end()
	within(t, "the end", o.Drained())
	if n := allocated(t, filepath.Join(p.dir, Stdout)); n > bound+2*freeStep {
		t.Errorf("%d bytes are allocated for it", n)
	}
	close(client.free)
	if err := <-copied; !errors.Is(err, ErrLagging) {
		t.Errorf("the stuck client: %v", err)
	}
	if err := <-followed; err != nil && !errors.Is(err, ErrLagging) {
		t.Errorf("the quick client: %v", err)
	}
	must(t, errors.Join(f.Close(), quick.Close()))
	if !strings.HasPrefix(live.String(), "start\n"+want) || !strings.HasPrefix("start\n"+want, client.String()) {
		t.Error("the clients' texts are wrong")
	}
}

// TestSlowClientWithoutLog has a slow client and no log. The writer waits for the client,
// which gets everything.
func TestSlowClientWithoutLog(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	p.log = ""
	const bound = 1 << 20
	o, s := p.open(bound), newStream(t)
	f := o.Follow(FollowOptions{Stdout: true})
	client := newStuckClient()
	copied := make(chan error, 1)
	go func() { copied <- f.Copy(context.Background(), client, nil) }()
	o.Start(s, nil)
	want := numbered(0, 300000)
	written := make(chan struct{})
	go func() { defer close(written); s.write(t, want) }()
	within(t, "the first write", client.busy)
	waitFor(t, "the bound", func() bool { return o.sizeOf(o.streams[0]) >= bound })
	select {
	case <-written:
		t.Error("the writer didn't wait")
	default:
	}
	close(client.free)
	within(t, "the writer", written)
	s.end()
	must(t, <-copied)
	within(t, "the end", o.Drained())
	must(t, f.Close())
	assertText(t, "client", client.String(), want)
}

// TestSlowClientBesideLog has a log and a client that reads now and then. The writer waits
// for the client, which gets everything.
func TestSlowClientBesideLog(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	const bound = 1 << 20
	o, s := p.open(bound), newStream(t)
	o.lagTime = time.Hour
	f := o.Follow(FollowOptions{Stdout: true})
	client := newStuckClient()
	copied := make(chan error, 1)
	go func() { copied <- f.Copy(context.Background(), client, nil) }()
	o.Start(s, nil)
	want := numbered(0, 200000)
	written := make(chan struct{})
	go func() { defer close(written); s.write(t, want); s.end() }()
	within(t, "the first write", client.busy)
	waitFor(t, "the bound", func() bool { return o.sizeOf(o.streams[0]) >= bound })
	select {
	case <-written:
		t.Error("the writer didn't wait")
	default:
	}
	if n := allocated(t, filepath.Join(p.dir, Stdout)); n > bound+moveChunk+2*freeStep {
		t.Errorf("%d bytes are allocated for it", n)
	}
	close(client.free)
	within(t, "the writer", written)
	must(t, <-copied)
	within(t, "the end", o.Drained())
	must(t, f.Close())
	assertText(t, "client", client.String(), want)
	assertText(t, "log", p.entries()[Stdout], want)
}

// TestExitedBesideStuckClient has a client that reads nothing, with and without a log. The
// exit does not wait for the client, which gets everything later.
func TestExitedBesideStuckClient(t *testing.T) {
	for name, logged := range map[string]bool{"logged": true, "not logged": false} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			p := newPlace(t)
			if !logged {
				p.log = ""
			}
			o, s := p.open(64<<10), newStream(t)
			o.lagTime = time.Hour
			f := o.Follow(FollowOptions{Stdout: true})
			o.Start(s, nil)
			want := strings.Repeat("a line of forty bytes, that it is. .. .\n", 10<<10)
			s.write(t, want[:100<<10])
			waitFor(t, "the bound", func() bool { return o.sizeOf(o.streams[0]) >= 64<<10 })
			s.write(t, want[100<<10:])
			s.end()
			o.Exited()
			within(t, "the end", o.Drained())
			must(t, o.Remove())
			var client lockedBuffer
			must(t, f.Copy(t.Context(), &client, nil))
			must(t, f.Close())
			assertText(t, "client", client.String(), want)
		})
	}
}

// joined is a client that reads the log and then follows.
type joined struct {
	f        *Follower
	out, err lockedBuffer
	enough   int // bytes of stdout after which the client has seen both
	cancel   context.CancelFunc
	copied   chan error
}

func join(o *Output, enough int) *joined {
	c := &joined{f: o.Follow(FollowOptions{Stdout: true, Stderr: true, Logged: true}), enough: enough,
		copied: make(chan error, 1)}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(context.Background())
	go func() { c.copied <- c.f.Copy(ctx, &c.out, &c.err) }()
	return c
}

// leave checks that the client has everything so far, once.
func (c *joined) leave(t *testing.T, out, err string) {
	t.Helper()
	waitFor(t, "a client", func() bool { return c.out.len() >= c.enough })
	c.cancel()
	if err := <-c.copied; !errors.Is(err, context.Canceled) {
		t.Errorf("copy: %v", err)
	}
	must(t, c.f.Close())
	if !strings.HasPrefix(out, c.out.String()) || !strings.HasPrefix(err, c.err.String()) {
		t.Fatalf("a client got %q and %q", c.out.String(), c.err.String())
	}
}

// TestReplayAndFollow joins clients at 1,000 moments.
func TestReplayAndFollow(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	o, out, errs := p.open(0), newStream(t), newStream(t)
	o.Start(out, errs)
	var wantOut, wantErr strings.Builder
	var clients []*joined
	for i := range 1000 {
		line := numbered(i, i+1)
		cut := rand.IntN(len(line))
		out.write(t, line[:cut])
		if i%3 == 0 {
			errs.write(t, line)
			wantErr.WriteString(line)
		}
		if rand.IntN(2) > 0 { // let other goroutines run, or not
			time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
		}
		wantOut.WriteString(line)
		clients = append(clients, join(o, wantOut.Len()))
		out.write(t, line[cut:])
		if len(clients) > 10 {
			clients[0].leave(t, wantOut.String(), wantErr.String())
			clients = clients[1:]
		}
	}
	for _, c := range clients {
		c.leave(t, wantOut.String(), wantErr.String())
	}
	out.end()
	errs.end()
	within(t, "the end", o.Drained())
	assertText(t, "log", p.entries()[Stdout], wantOut.String())
}

// TestFollowBeforeStart follows before the start, and gets everything. With a nil writer,
// that stream is left out.
func TestFollowBeforeStart(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	o, out, errs := p.open(0), newStream(t), newStream(t)
	both, one := o.Follow(FollowOptions{Stdout: true, Stderr: true}),
		o.Follow(FollowOptions{Stdout: true, Stderr: true, Logged: true})
	want := numbered(0, 50000)
	o.Start(out, errs)
	var wg sync.WaitGroup
	wg.Go(func() { out.write(t, want); out.end() })
	wg.Go(func() { errs.write(t, want); errs.end() })
	var a, b, c bytes.Buffer
	wg.Go(func() { must(t, both.Copy(context.Background(), &a, &b)) })
	wg.Go(func() { must(t, one.Copy(context.Background(), nil, &c)) })
	wg.Wait()
	within(t, "the end", o.Drained())
	must(t, errors.Join(both.Close(), one.Close()))
	assertText(t, "stdout", a.String(), want)
	assertText(t, "stderr", b.String(), want)
	assertText(t, "stderr alone", c.String(), want)
}

// TestCopyEnds ends a Copy by its context, its writer, and the output.
func TestCopyEnds(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	o, s := p.open(0), newStream(t)
	o.Start(s, nil)
	ctx, cancel := context.WithCancel(t.Context())
	f, broken, late := o.Follow(FollowOptions{Stdout: true}), o.Follow(FollowOptions{Stdout: true}),
		o.Follow(FollowOptions{Stdout: true})
	copied := make(chan error, 3)
	go func() { copied <- f.Copy(ctx, io.Discard, nil) }()
	cancel()
	if err := <-copied; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	s.write(t, "text")
	r, w := io.Pipe()
	r.CloseWithError(io.ErrNoProgress)
	if err := broken.Copy(t.Context(), w, nil); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("broken: %v", err)
	}
	go func() { copied <- late.Copy(t.Context(), io.Discard, nil) }()
	s.Close()
	if err := <-copied; !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed source: %v", err)
	}
	must(t, o.Close())
	if err := o.Follow(FollowOptions{Stderr: true}).Copy(t.Context(), nil, io.Discard); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed output: %v", err)
	}
	must(t, errors.Join(f.Close(), broken.Close(), late.Close()))
}

// TestSockets sends numbered lines to sockets with slow readers, while the sent data is
// freed. The data in a socket's queue must not change.
func TestSockets(t *testing.T) {
	for name, pair := range map[string]func(testing.TB) (net.Conn, net.Conn){"unix": unixPair, "tcp": tcpPair} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			p := newPlace(t)
			o, s := p.open(0), newStream(t)
			f := o.Follow(FollowOptions{Stdout: true})
			here, there := pair(t)
			o.Start(s, nil)
			want := numbered(0, 200000)
			copied := make(chan error, 1)
			go func() {
				err := f.Copy(context.Background(), here, nil)
				copied <- errors.Join(err, here.Close())
			}()
			s.write(t, want)
			s.end()
			within(t, "the end", o.Drained())
			var got bytes.Buffer
			_, err := io.Copy(&got, there)
			must(t, errors.Join(err, <-copied, f.Close(), there.Close()))
			assertText(t, "client", got.String(), want)
		})
	}
}

func unixPair(t testing.TB) (here, there net.Conn) { return socketPair(t) }

func tcpPair(t testing.TB) (here, there net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	here, err = net.Dial("tcp", l.Addr().String())
	must(t, err)
	there, err = l.Accept()
	must(t, err)
	return here, there
}

// TestLaggingSocket has a slow client, which is cut off when it reads again.
func TestLaggingSocket(t *testing.T) {
	checkLeaks(t)
	p := newPlace(t)
	o, s := p.open(1<<20), newStream(t)
	f := o.Follow(FollowOptions{Stdout: true})
	here, there := socketPair(t)
	copied := make(chan error, 1)
	go func() { copied <- f.Copy(context.Background(), here, nil) }()
	o.Start(s, nil)
	want := numbered(0, 200000)
	s.write(t, want)
	s.end()
	within(t, "the end", o.Drained())
	got := make(chan string)
	go func() {
		b, _ := io.ReadAll(there)
		got <- string(b)
	}()
	if err := <-copied; !errors.Is(err, ErrLagging) {
		t.Errorf("copied: %v", err)
	}
	must(t, errors.Join(f.Close(), here.Close()))
	if text := <-got; !strings.HasPrefix(want, text) {
		t.Error("the client got something else")
	}
	must(t, there.Close())
}
