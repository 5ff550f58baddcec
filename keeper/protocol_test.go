package keeper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/fdpass"
	"github.com/engine-lite/engine-lite/internal/unixsocket"
	"github.com/engine-lite/engine-lite/keeper/internal/wire"
)

// exchange sends a packet as it is and returns the answer.
func exchange(t *testing.T, conn *net.UnixConn, data []byte, fds ...int) wire.Answer {
	t.Helper()
	if err := fdpass.Write(conn, data, fds); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	p, err := wire.ReadAnswer(conn, make([]byte, wire.MaxAnswer))
	if err != nil {
		t.Fatalf("no answer to %.40q: %v", data, err)
	}
	wire.CloseFiles(p.Files)
	return p.Answer
}

func TestGarbage(t *testing.T) {
	k := startKeeper(t, t.TempDir())
	c := k.dial(t)
	_, fifo := makeFIFO(t, "stdout")
	fd := rawFD(t, fifo)
	conn, err := wire.Dial(t.Context(), k.socket())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	random := make([]byte, 1000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	// An answer on each says that the keeper has accepted both connections.
	exchange(t, conn, []byte(`{}`))
	if _, err := c.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := k.fds(t)
	garbage := func(is func(error) bool) {
		t.Helper()
		for _, test := range []struct {
			what string
			data []byte
			fds  []int
			is   func(error) bool
		}{
			{"random", random, nil, errdefs.IsInvalidArgument},
			{"random with descriptor", random, []int{fd}, errdefs.IsInvalidArgument},
			{"wrong JSON", []byte(`{"op":7}`), nil, errdefs.IsInvalidArgument},
			{"array", []byte(`[]`), nil, errdefs.IsInvalidArgument},
			{"deep", bytes.Repeat([]byte("["), wire.MaxRequest), nil, errdefs.IsInvalidArgument},
			{"too large", bytes.Repeat([]byte(" "), wire.MaxRequest+1), nil, errdefs.IsInvalidArgument},
			{"much too large", bytes.Repeat([]byte(" "), 100<<10), []int{fd}, errdefs.IsInvalidArgument},
			{"5 descriptors", []byte(`{"op":"list"}`), []int{fd, fd, fd, fd, fd}, errdefs.IsInvalidArgument},
			{"hold without", []byte(`{"op":"hold","key":"k","name":"stdin"}`), nil, is},
			{"hold with too many", []byte(`{"op":"hold","key":"k","name":"stdin"}`), []int{fd, fd, fd}, is},
			{"list with", []byte(`{"op":"list"}`), []int{fd}, is},
			{"unknown", []byte(`{"op":"frobnicate"}`), nil, is},
			{"nothing", []byte(`{}`), nil, is},
			{"wrong protocol", []byte(`{"op":"hello","protocol":99}`), nil, errdefs.IsFailedPrecondition},
		} {
			if err := exchange(t, conn, test.data, test.fds...).Err(); !test.is(err) {
				t.Errorf("%s: %v", test.what, err)
			}
		}
	}
	garbage(errdefs.IsFailedPrecondition) // before the handshake
	if err := exchange(t, conn, []byte(`{"op":"hello","protocol":1}`)).Err(); err != nil {
		t.Fatal(err)
	}
	garbage(errdefs.IsInvalidArgument)
	if after := k.fds(t); after != before {
		t.Errorf("keeper has %d descriptors, not %d", after, before)
	}
	// An empty packet is Go's end of file; what comes with it is closed all the same.
	sendEmpty(t, conn, fd, fd)
	if _, err := wire.ReadAnswer(conn, make([]byte, wire.MaxAnswer)); !errors.Is(err, io.EOF) {
		t.Errorf("after an empty packet: %v", err)
	}
	eventually(t, "the connection's descriptor is closed", func() bool { return k.fds(t) == before-1 })
	if _, err := c.List(t.Context()); err != nil {
		t.Error(err)
	}
}

// sendEmpty sends descriptors with no data, which Go's own functions avoid.
func sendEmpty(t *testing.T, conn *net.UnixConn, fds ...int) {
	t.Helper()
	control := unix.UnixRights(fds...)
	header := unix.Msghdr{Control: &control[0]}
	header.SetControllen(len(control))
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&header)), 0)
	})
	if err != nil || errno != 0 {
		t.Fatal(err, errno)
	}
}

func TestTooManyConnections(t *testing.T) {
	k := startKeeper(t, t.TempDir())
	before := k.fds(t)
	var all []*Client
	for range 64 {
		c, err := Dial(t.Context(), k.socket())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if _, err := Dial(t.Context(), k.socket()); !errdefs.IsUnavailable(err) {
		t.Errorf("one connection more: %v", err)
	}
	for _, c := range all {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "all are gone", func() bool { return k.fds(t) == before })
}

// fakeKeeper answers the connections to a socket with a function.
func fakeKeeper(t *testing.T, answerOne func(r wire.Request, conn *net.UnixConn) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), SocketName)
	listener, err := unixsocket.Listen(context.Background(), wire.Network, path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serve := func(conn *net.UnixConn) {
		defer conn.Close()
		buffer := make([]byte, wire.MaxRequest)
		for {
			n, _, err := fdpass.Read(conn, buffer, wire.MaxDescriptors)
			if err != nil {
				return
			}
			r, err := wire.DecodeRequest(buffer[:n])
			if err != nil || answerOne(r, conn) != nil {
				return
			}
		}
	}
	serving.Go(func() {
		for {
			conn, err := listener.AcceptUnix()
			if err != nil {
				return
			}
			serving.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() { listener.Close(); serving.Wait() })
	return path
}

func TestOtherProtocol(t *testing.T) {
	path := fakeKeeper(t, func(r wire.Request, conn *net.UnixConn) error {
		answer := wire.Refusal(fmt.Errorf("another protocol: %w", errdefs.ErrFailedPrecondition))
		answer.ID = r.ID
		data, err := json.Marshal(answer)
		return errors.Join(err, fdpass.Write(conn, data, nil))
	})
	if _, err := Dial(t.Context(), path); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("another protocol: %v", err)
	}
}

// A take whose context ends must not leave the stream taken, however late the keeper's answer is.
func TestTakeAbandoned(t *testing.T) {
	_, fifo := makeFIFO(t, "stdout")
	fd := rawFD(t, fifo)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	returned := make(chan struct{})
	path := fakeKeeper(t, func(r wire.Request, conn *net.UnixConn) error {
		switch r.Op {
		case wire.OpTake:
			cancel()
			return nil
		case wire.OpReturn:
			defer close(returned)
			return fdpass.Write(conn, []byte(`{"id":2}`), []int{fd}) // the take's answer, late
		}
		data, err := json.Marshal(wire.Answer{ID: r.ID})
		return errors.Join(err, fdpass.Write(conn, data, nil))
	})
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	before := countFDs(t, os.Getpid())
	if _, _, err := c.Take(ctx, "c1/init", Stdout); !errors.Is(err, context.Canceled) {
		t.Errorf("abandoned take: %v", err)
	}
	<-returned
	if _, err := c.List(t.Context()); err != nil {
		t.Error(err)
	}
	if after := countFDs(t, os.Getpid()); after != before {
		t.Errorf("%d descriptors, not %d", after, before)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestExitsEnd(t *testing.T) {
	k := startWithRuntimed(t, t.TempDir())
	c, err := Dial(t.Context(), k.socket())
	if err != nil {
		t.Fatal(err)
	}
	barrier, open := makeBarrier(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 2)
	for range 2 {
		go func() { result <- c.Exits(ctx, func(Exit) error { cancel(); return nil }) }()
	}
	k.spawn(t, 1, barrier, `exit 0`)
	open.Close()
	for range 2 {
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled exits: %v", err)
		}
	}
	refused := errors.New("refused")
	if err := c.Exits(t.Context(), func(Exit) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("refused exits: %v", err)
	}
	started := make(chan struct{})
	go func() {
		first := true
		result <- c.Exits(t.Context(), func(Exit) error {
			if first {
				close(started)
			}
			first = false
			return nil
		})
	}()
	<-started
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-result; !errdefs.IsUnavailable(err) {
		t.Errorf("exits of a closed client: %v", err)
	}
}
