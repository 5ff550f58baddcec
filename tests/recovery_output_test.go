package tests

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// useFastEngine builds the engine without the race detector, as hack/build does. That
// engine is ready sooner.
func (r *rig) useFastEngine(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	path := r.file("bin/engine-lite")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", path, "../cmd/engine-lite")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// Scripts that write numbered lines until there is a file /go: to stdout, and to stdout
// and stderr. The last one writes the lines that it reads from stdin.
const (
	writesOne  = "i=0; until [ -e /go ]; do n=$((i+20)); while [ $i != $n ]; do i=$((i+1)); echo $i; done; sleep 0.1; done; exit 41"
	writesBoth = "i=0; until [ -e /go ]; do n=$((i+10)); while [ $i != $n ]; do i=$((i+1)); echo $i; echo $i >&2; done; sleep 0.1; done; exit 42"
	writesRead = "while read x; do echo $x; [ $x != end ] || exit 43; done"
)

// TestOutputOver200Kills kills engine and runtimed 200 times at random moments while
// containers write numbered lines. Afterwards the log must have each line once and in its
// place. One container reads lines: its stdin outlives each engine, but each client is cut
// off.
func TestOutputOver200Kills(t *testing.T) {
	t.Parallel()
	const kills, everyRuntimed = 200, 20
	r := ownRig(t)
	r.useFastEngine(t)
	d := oneDocker(t, r)
	one := r.runScript(t, writesOne, nil)
	both := []*testContainer{r.runScript(t, writesBoth, nil), r.runScript(t, writesBoth, nil)}
	terminal := r.runScript(t, writesOne, map[string]any{"Tty": true})
	reader := r.runScript(t, writesRead, map[string]any{"OpenStdin": true})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	typed := 0
	for n := 1; n <= kills; n++ {
		if n%everyRuntimed == 0 {
			r.killAndRecover(t, "runtimed")
			continue
		}
		client := r.typeLine(t, reader, typed+1)
		<-time.After(time.Duration(random.IntN(100)) * time.Millisecond) // any moment between two bursts will do
		r.kill(t, r.enginePid())
		typed++
		client.awaitCut(t)
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range append(both, one, terminal) {
		m.signalGo(t)
	}
	r.typeText(t, reader, "end\n")
	for m, code := range map[*testContainer]int{one: 41, both[0]: 42, both[1]: 42, terminal: 41, reader: 43} {
		var end struct{ StatusCode int }
		r.do(t, http.MethodPost, "/containers/"+m.id+"/wait", nil, &end)
		if end.StatusCode != code {
			t.Errorf("exit code %d, want %d", end.StatusCode, code)
		}
	}
	for _, m := range append(both, one) {
		out := d.run(t, "logs", m.id)
		inOrder(t, "stdout", out.stdout)
		if m != one {
			inOrder(t, "stderr", out.stderr)
		}
	}
	inOrder(t, "terminal", strings.ReplaceAll(d.ok(t, "logs", terminal.id)+"\n", "\r\n", "\n"))
	lines, _ := strings.CutSuffix(d.ok(t, "logs", reader.id)+"\n", "end\n")
	inOrder(t, "what was typed", lines)
	if n := strings.Count(lines, "\n"); n != typed {
		t.Errorf("%d lines were typed, %d were read", typed, n)
	}
}

// inOrder checks that the lines are the numbers from 1 on.
func inOrder(t *testing.T, what, text string) {
	t.Helper()
	n := 0
	for line := range strings.Lines(text) {
		if n++; line != strconv.Itoa(n)+"\n" {
			t.Errorf("%s: line %d is %q", what, n, line)
			return
		}
	}
	if n == 0 {
		t.Errorf("%s: nothing", what)
	}
}

// attachedClient is a client of a container's stdin and output.
type attachedClient struct {
	conn   net.Conn
	out    buffer
	closed chan struct{} // when the connection has ended
}

// attach connects a client to a container.
func (r *rig) attach(t *testing.T, m *testContainer) *attachedClient {
	t.Helper()
	conn, err := net.Dial("unix", r.socket())
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn,
		"POST /containers/%s/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", m.id)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("attach: %+v, %v", response, err)
	}
	a := &attachedClient{conn: conn, closed: make(chan struct{})}
	var read sync.WaitGroup
	read.Go(func() { // ends with the connection
		defer close(a.closed)
		_, _ = io.Copy(&a.out, in) // the error is that the client was cut off, as awaitCut expects
	})
	t.Cleanup(func() {
		conn.Close()
		read.Wait()
	})
	return a
}

// typeText types to a container, through a new client.
func (r *rig) typeText(t *testing.T, m *testContainer, text string) *attachedClient {
	t.Helper()
	a := r.attach(t, m)
	if _, err := io.WriteString(a.conn, text); err != nil {
		t.Fatal(err)
	}
	return a
}

// typeLine types a number, through a new client, and waits until the container has written
// the number back.
func (r *rig) typeLine(t *testing.T, m *testContainer, n int) *attachedClient {
	t.Helper()
	a := r.typeText(t, m, fmt.Sprintln(n))
	await(t, fmt.Sprintf("the container has read line %d", n), func() bool {
		return strings.HasSuffix(a.out.String(), fmt.Sprintln(n))
	})
	return a
}

// awaitCut waits until the client notices that its connection is gone.
func (a *attachedClient) awaitCut(t *testing.T) {
	t.Helper()
	select {
	case <-a.closed:
		a.conn.Close()
	case <-time.After(waitLimit):
		t.Fatal("a client of a dead engine isn't cut off")
	}
}

// TestClientsFailWithEngine runs clients of docker that follow a container when the engine
// is killed. Each client fails with an error message.
func TestClientsFailWithEngine(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	d := oneDocker(t, r)
	name := d.detached(t, "-i", "busybox", "sh", "-c", "echo here; cat")
	clients := map[string]*running{}
	for _, args := range [][]string{{"logs", "-f", name}, {"wait", name}, {"attach", name},
		{"events", "--since", "1"}} {
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		clients[args[0]] = d.background(t, in, args...)
		t.Cleanup(func() { in.Close(); out.Close() })
	}
	clients["logs"].await(t, "here\n")
	await(t, "a client is attached", func() bool { return r.count(t, "attach") == 1 })
	r.kill(t, r.enginePid())
	for what, c := range clients {
		if end := c.wait(t); end.code == 0 || end.stderr == "" {
			t.Errorf("docker %s: %+v", what, end)
		}
	}
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	if s := d.inspect(t, name).State; !s.Running {
		t.Errorf("%+v", s)
	}
}

// keeperLimit is how many bytes of a stream the keeper stores while no engine runs.
const keeperLimit = 64 << 20

// TestWriterWaitsForEngine runs a container that writes more than keeperLimit while no
// engine runs. The container writes that much without waiting. Then it waits, and nothing
// is lost.
func TestWriterWaitsForEngine(t *testing.T) {
	t.Parallel()
	const lines, width = 90_000, 1000
	r := ownRig(t)
	r.useFastEngine(t)
	m := r.runScript(t, untilGo+"yes "+strings.Repeat("x", width)+fmt.Sprintf(" | head -n %d | cat -n; exit 5", lines),
		nil)
	r.kill(t, r.enginePid())
	m.signalGo(t)
	raws, err := filepath.Glob(filepath.Join(r.root(), "containers", m.id, "raw", "*"))
	if err != nil || len(raws) == 0 {
		t.Fatalf("raw files: %q, %v", raws, err)
	}
	kept := func() (bytes int64) {
		for _, path := range raws {
			var s syscall.Stat_t
			if err := syscall.Stat(path, &s); err == nil {
				bytes += s.Blocks * 512
			}
		}
		return bytes
	}
	await(t, "the limit is reached", func() bool { return kept() >= keeperLimit })
	if !alive(m.pid) {
		t.Fatal("the container did not wait")
	}
	if n := kept(); n > keeperLimit+4<<20 {
		t.Errorf("%d bytes are stored, the limit is %d", n, keeperLimit)
	}
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	var end struct{ StatusCode int }
	r.do(t, http.MethodPost, "/containers/"+m.id+"/wait", nil, &end)
	if end.StatusCode != 5 {
		t.Errorf("exit code %d", end.StatusCode)
	}
	out := oneDocker(t, r).run(t, "logs", m.id).stdout
	n := 0
	for line := range bytes.Lines([]byte(out)) {
		if n++; string(line) != fmt.Sprintf("%6d\t%s\n", n, strings.Repeat("x", width)) {
			t.Fatalf("line %d is %.40q", n, line)
		}
	}
	if n != lines {
		t.Errorf("%d lines of %d", n, lines)
	}
}
