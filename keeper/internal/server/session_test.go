package server

import (
	"io"
	"log"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/keeper/internal/ledger"
	"github.com/engine-lite/engine-lite/keeper/internal/streams"
	"github.com/engine-lite/engine-lite/keeper/internal/wire"
)

func FuzzAnswer(f *testing.F) {
	for _, op := range []string{
		wire.OpHello, wire.OpHold, wire.OpTake, wire.OpReturn, wire.OpRelease, wire.OpList, wire.OpLookup,
		wire.OpForget, "x",
	} {
		f.Add([]byte(`{"id":1,"op":"`+op+`","protocol":1,"key":"a/b","name":"stdout","pid":1,"start":2}`), true)
	}
	f.Add([]byte(`{"id":-1}`), false)
	logger := log.New(io.Discard, "", 0)
	f.Fuzz(func(t *testing.T, data []byte, greeted bool) {
		if r, err := wire.DecodeRequest(data); err == nil && r.Op == wire.OpExits || len(data) > wire.MaxRequest {
			return
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		conns := [2]*net.UnixConn{fileConn(t, pair[0]), fileConn(t, pair[1])}
		defer conns[0].Close()
		defer conns[1].Close()
		s := &session{
			conn: conns[0], log: logger, ledger: &ledger.Ledger{}, streams: streams.NewRegistry(-1, 10),
			greeted: greeted, awaitDead: func() {},
		}
		if err := s.answer(data, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := wire.ReadAnswer(conns[1], make([]byte, wire.MaxAnswer)); err != nil {
			t.Fatal(err)
		}
	})
}

func fileConn(t *testing.T, fd int) *net.UnixConn {
	t.Helper()
	file := os.NewFile(uintptr(fd), "pair")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return conn.(*net.UnixConn)
}
