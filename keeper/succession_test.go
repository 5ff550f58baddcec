package keeper

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/fdpass"
	"github.com/engine-lite/engine-lite/keeper/internal/wire"
)

// A client that comes because another one died finds that one's streams returned, also when the keeper learns of
// both at the same moment: it is stopped while the one goes and the other one comes.
func TestTakeAfterDeath(t *testing.T) {
	k := startKeeper(t, t.TempDir())
	_, fifo := makeFIFO(t, "fifo")
	first := k.dial(t)
	if err := first.Hold(t.Context(), "c/init", Stdout, fifo, makeRaw(t), HoldOptions{}); err != nil {
		t.Fatal(err)
	}
	owner := k.takes(t, nil)
	for round := range 100 {
		if err := k.cmd.Process.Signal(unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if err := owner.Close(); err != nil {
			t.Fatal(err)
		}
		owner = k.takes(t, func() error { return k.cmd.Process.Signal(unix.SIGCONT) })
		if owner == nil {
			t.Fatalf("round %d: the stream is still taken", round)
		}
	}
	if err := owner.Close(); err != nil {
		t.Error(err)
	}
}

// takes connects and sends handshake and take at once, before it calls wake. It returns nil if the take is refused.
func (k *running) takes(t *testing.T, wake func() error) *net.UnixConn {
	t.Helper()
	conn, err := wire.Dial(context.Background(), k.socket())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []wire.Request{
		{ID: 1, Op: wire.OpHello, Protocol: wire.Protocol}, {ID: 2, Op: wire.OpTake, Key: "c/init", Name: Stdout},
	} {
		data, err := json.Marshal(r)
		if err == nil {
			err = fdpass.Write(conn, data, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if wake != nil {
		if err := wake(); err != nil {
			t.Fatal(err)
		}
	}
	buffer := make([]byte, wire.MaxAnswer)
	var last wire.Packet
	for range 2 {
		if last, err = wire.ReadAnswer(conn, buffer); err != nil {
			t.Fatal(err)
		}
		wire.CloseFiles(last.Files)
	}
	if err := last.Err(); err != nil {
		t.Log(fmt.Errorf("take: %w", err))
		conn.Close()
		return nil
	}
	return conn
}
