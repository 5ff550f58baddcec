package keeper

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/fdpass"
	"github.com/engine-lite/engine-lite/internal/procfs"
	"github.com/engine-lite/engine-lite/keeper/internal/wire"
)

// The files below testdata/v1 are what protocol 1 and ledger format 1 look like. A keeper and its clients are
// upgraded at different times, so whoever changes one of them changes the number too, and keeps the old files
// working or refused.

// message is a line of a recorded conversation.
type message struct {
	request bool
	text    string
	fds     int
}

func readConversation(t *testing.T, name string) (all []message) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "v1", name))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		direction, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok {
			t.Fatalf("line %q", line)
		}
		m := message{request: direction == "->"}
		text, fds, with := strings.Cut(text, " + ")
		if with {
			if m.fds, err = strconv.Atoi(fds); err != nil {
				t.Fatal(err)
			}
		}
		m.text = strings.ReplaceAll(text, "PID", strconv.Itoa(os.Getpid()))
		all = append(all, m)
	}
	return all
}

// fixtureLedger puts the recorded ledger into a directory, as one of this boot.
func fixtureLedger(t *testing.T, dir string) {
	t.Helper()
	data, err := os.ReadFile("testdata/v1/ledger")
	if err != nil {
		t.Fatal(err)
	}
	boot, err := procfs.Boot()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ledger"), append(ledgerHead(boot), data[40:]...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ledgerHead is the first record of a ledger: the boot in place of seq and start time, and the format's number in
// place of the pid.
func ledgerHead(boot procfs.BootID) []byte {
	head := append(boot[:], make([]byte, 8)...)
	head = binary.LittleEndian.AppendUint64(head, 1) // the format, and no status
	head = binary.LittleEndian.AppendUint32(head, 4) // the kind
	sum := crc32.Checksum(head, crc32.MakeTable(crc32.Castagnoli))
	return binary.LittleEndian.AppendUint32(head, sum)
}

// Today's keeper gives a client of protocol 1 the recorded answers.
func TestKeeperAnswersV1(t *testing.T) {
	for _, name := range []string{"session", "exits", "refused", "runtimed"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fixtureLedger(t, dir)
			k := startKeeper(t, dir)
			conn, err := wire.Dial(t.Context(), k.socket())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			buffer := make([]byte, wire.MaxAnswer)
			for _, m := range readConversation(t, name) {
				if m.request {
					sendFixture(t, conn, m)
					continue
				}
				n, fds, err := fdpass.Read(conn, buffer, wire.MaxDescriptors)
				if err != nil {
					t.Fatal(err)
				}
				fdpass.Close(fds)
				want := strings.Replace(m.text, strconv.Itoa(os.Getpid()), strconv.Itoa(k.cmd.Process.Pid), 1)
				if got := string(buffer[:n]); got != want || len(fds) != m.fds {
					t.Errorf("answer %s with %d descriptors\n  want %s with %d", got, len(fds), want, m.fds)
				}
			}
		})
	}
}

// sendFixture sends a recorded packet with descriptors of a FIFO and a raw file.
func sendFixture(t *testing.T, conn *net.UnixConn, m message) {
	t.Helper()
	var files []*os.File
	if m.fds > 0 {
		_, fifo := makeFIFO(t, "fifo")
		files = append(files, fifo)
	}
	if m.fds > 1 {
		files = append(files, makeRaw(t))
	}
	if err := wire.Write(t.Context(), conn, []byte(m.text), files); err != nil {
		t.Fatal(err)
	}
}

// playKeeper is a keeper of protocol 1: it wants the recorded requests and gives the recorded answers, one
// conversation to a connection. It returns its socket.
func playKeeper(t *testing.T, names ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "k")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- playAll(t, l, names) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

func playAll(t *testing.T, l *net.UnixListener, names []string) error {
	for _, name := range names {
		conn, err := l.AcceptUnix()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := play(t, conn, readConversation(t, name)); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", name, err), conn.Close())
		}
		t.Cleanup(func() { conn.Close() }) // when the client has gone
	}
	return nil
}

func play(t *testing.T, conn *net.UnixConn, all []message) error {
	buffer := make([]byte, wire.MaxRequest)
	for _, m := range all {
		if !m.request {
			sendFixture(t, conn, m)
			continue
		}
		n, fds, err := fdpass.Read(conn, buffer, wire.MaxDescriptors)
		if err != nil {
			return err
		}
		fdpass.Close(fds)
		if got := string(buffer[:n]); got != m.text || len(fds) != m.fds {
			return fmt.Errorf("request %s with %d descriptors, want %s with %d", got, len(fds), m.text, m.fds)
		}
	}
	return nil
}

// Today's client says to a keeper of protocol 1 what was recorded, and understands its answers.
func TestClientSpeaksV1(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	path := playKeeper(t, "session", "exits")
	c, err := Dial(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, fifo := makeFIFO(t, "mine")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(c.Hold(ctx, "c1/init", Stdout, fifo, makeRaw(t), HoldOptions{Bound: 1 << 20, Taken: true}))
	check(c.Hold(ctx, "c1/init", Terminal, fifo, nil, HoldOptions{}))
	check(c.Return(ctx, "c1/init", Stdout))
	for _, name := range []string{Stdout, Terminal} {
		stream, raw, err := c.Take(ctx, "c1/init", name)
		check(err)
		if (raw != nil) != (name == Stdout) {
			t.Errorf("%s came with raw file %v", name, raw)
		}
		wire.CloseFiles([]*os.File{stream})
		if raw != nil {
			raw.Close()
		}
	}
	held, err := c.List(ctx)
	check(err)
	if len(held) != 2 || held[0] != (Held{Key: "c1/init", Name: Stdout, Raw: true, Bound: 1 << 20, Taken: true}) {
		t.Errorf("list %+v", held)
	}
	if _, _, err := c.Take(ctx, "c2/init", Stdin); !errdefs.IsNotFound(err) {
		t.Errorf("take of what isn't held: %v", err)
	}
	check(c.Release(ctx, "c1/init", ""))
	exit, found, err := c.Lookup(ctx, 101, 700)
	check(err)
	want := Exit{Seq: 4, Pid: 101, StartTime: 700, Status: 7 << 8, Time: time.Unix(1767225600, 5).UTC()}
	if !found || exit != want {
		t.Errorf("exit %+v", exit)
	}
	if _, found, err := c.Lookup(ctx, 102, 701); found || err != nil {
		t.Errorf("a forgotten exit: %t, %v", found, err)
	}
	check(c.Forget(ctx, 103, 702))
	enough := errors.New("enough")
	var exits []Exit
	err = c.Exits(ctx, func(e Exit) error {
		if exits = append(exits, e); len(exits) == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || exits[0] != want || exits[2].Code() != 128+11 {
		t.Errorf("exits %+v, %v", exits, err)
	}
}

// A client is told both numbers by a keeper of another protocol.
func TestNewerClientIsRefused(t *testing.T) {
	k := startKeeper(t, t.TempDir())
	conn, err := wire.Dial(t.Context(), k.socket())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hello, err := json.Marshal(wire.Request{ID: 1, Op: wire.OpHello, Protocol: wire.Protocol + 1})
	if err == nil {
		err = fdpass.Write(conn, hello, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err := wire.ReadAnswer(conn, make([]byte, wire.MaxAnswer))
	if err != nil {
		t.Fatal(err)
	}
	said := p.Err()
	numbers := fmt.Sprintf("protocol %d, the client %d", wire.Protocol, wire.Protocol+1)
	if !errdefs.IsFailedPrecondition(said) || !strings.Contains(said.Error(), numbers) {
		t.Errorf("%v", said)
	}
}
