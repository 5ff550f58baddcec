package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/engine-lite/engine-lite/events"
)

// TestEventDocs checks that docs/events.md shows the programs that the tests below run.
func TestEventDocs(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	for language, path := range map[string]string{"python": "consumer.py", "go": "main.go"} {
		program, err := os.ReadFile("../examples/events/" + path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(doc), "\n```"+language+"\n"+string(program)+"```\n") {
			t.Errorf("docs/events.md does not show examples/events/%s as it is", path)
		}
	}
}

// eventConsumer is a program of docs/events.md with its database.
type eventConsumer struct {
	command          []string
	socket, database string
	// results reads the database while the program does not run.
	results func(t *testing.T, database string) []string
	running *running
	kill    context.CancelFunc
}

// eventConsumers returns the two programs, which don't run yet.
func eventConsumers(t *testing.T, socket string) map[string]*eventConsumer {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "events")
	if out, err := exec.Command("go", "build", "-race", "-o", program,
		"../examples/events").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return map[string]*eventConsumer{
		"go": {command: []string{program}, socket: socket, database: filepath.Join(dir, "go.db"), results: boltResults},
		"python": {command: []string{"python3", "../examples/events/consumer.py"}, socket: socket,
			database: filepath.Join(dir, "python.db"), results: sqliteResults},
	}
}

func (c *eventConsumer) start(t *testing.T) {
	t.Helper()
	args := append(slices.Clone(c.command[1:]), c.socket, c.database)
	ctx, cancel := context.WithCancel(context.Background())
	c.kill = cancel
	c.running = &running{what: c.command[0], cmd: exec.CommandContext(ctx, c.command[0], args...),
		ended: make(chan struct{})}
	c.running.cmd.Stdout, c.running.cmd.Stderr = &c.running.stdout, &c.running.stderr
	c.running.start(t, cancel)
}

// await waits until the program has printed a text. The test fails if the program ends before.
func (c *eventConsumer) await(t *testing.T, text string) {
	t.Helper()
	printed := func() bool { return strings.Contains(c.running.stdout.String(), text) }
	await(t, fmt.Sprintf("%s prints %q", c.running.what, text), func() bool {
		select {
		case <-c.running.ended:
			return true
		default:
			return printed()
		}
	})
	if !printed() {
		t.Fatalf("%s has ended, and did not print %q\n%s", c.running.what, text, c.running.stderr.String())
	}
}

// kill9 kills the program with SIGKILL. The test fails if the program has ended before.
func (c *eventConsumer) kill9(t *testing.T) {
	t.Helper()
	c.kill()
	<-c.running.ended
	status, ok := c.running.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("%s: %v\n%s", c.running.what, c.running.cmd.ProcessState, c.running.stderr.String())
	}
}

func boltResults(t *testing.T, database string) (list []string) {
	t.Helper()
	db, err := bbolt.Open(database, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("consumer")).ForEach(func(key, value []byte) error {
			if strings.HasPrefix(string(key), "result ") {
				list = append(list, string(value))
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func sqliteResults(t *testing.T, database string) []string {
	t.Helper()
	out, err := exec.Command("python3", "-c", `import sqlite3, sys
for row in sqlite3.connect(sys.argv[1]).execute("SELECT * FROM result ORDER BY rowid"):
    print(*row)`, database).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// check compares the results with those that are wanted.
func (c *eventConsumer) check(t *testing.T, want []string) {
	t.Helper()
	got := c.results(t, c.database)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Errorf("%s: from result %d on, got\n%s\nwant\n%s", c.command[0], i,
				strings.Join(got[min(i, len(got)):min(i+5, len(got))], "\n"),
				strings.Join(want[min(i, len(want)):min(i+5, len(want))], "\n"))
			return
		}
	}
}

// journaled returns the results that a consumer should have of the journal's events from
// number oldest on.
func (r *rig) journaled(t *testing.T, journal string, oldest uint64) (list []string) {
	t.Helper()
	dump := r.journalCommand(t, "dump", "--records=false", "--cursor", fmt.Sprint(oldest-1))
	if dump.code != 0 {
		t.Fatalf("%+v", dump)
	}
	for line := range strings.Lines(dump.stdout) {
		var l struct {
			Event struct {
				Seq    uint64
				Action string
			}
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Event.Seq != oldest+uint64(len(list)) {
			t.Fatalf("%s: %v", line, err)
		}
		list = append(list, fmt.Sprintf("%s %d %s", journal, l.Event.Seq, l.Event.Action))
	}
	return list
}

// TestEventExamples runs the programs of docs/events.md. Both and the engine are killed
// again and again while events come. Each program must have each event once, and go on
// where the engine no longer has the next event.
func TestEventExamples(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	consumers := eventConsumers(t, r.socket())
	for range 50 { // more than the programs have done when they are killed: each kill hits a program at work
		r.tagAndUntag()
	}
	stop := r.keepTagging(t)
	for _, c := range consumers {
		c.start(t)
	}
	const least, most = 4, 12
	begin := time.Now()
	for round := 0; round < least || (round < most && time.Since(begin) < 6*time.Second); round++ {
		if round%3 == 1 {
			r.kill(t, r.enginePid())
			if err := r.start(); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range consumers {
			c.await(t, "tag\n")
			<-time.After(rand.N(20 * time.Millisecond)) // at any moment
			c.kill9(t)
			c.start(t)
		}
	}
	stop()
	if a := r.call(http.MethodPost, "/images/busybox/tag?repo=last", ""); a.status != http.StatusCreated {
		t.Fatalf("%+v", a)
	}
	client := events.Unix(r.socket())
	defer client.Close()
	now, err := client.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := r.journaled(t, now.Journal, 1)
	for _, c := range consumers {
		c.await(t, fmt.Sprintf("%d tag\n", now.Seq))
		c.kill9(t)
		c.check(t, want)
	}

	oldest := r.dropEvents(t, now.Seq)
	want = append(want, fmt.Sprintf("%s %d gap", now.Journal, oldest-1))
	want = append(want, r.journaled(t, now.Journal, oldest)...)
	for _, c := range consumers {
		c.start(t)
		c.await(t, fmt.Sprintf("%d gap\n", oldest-1))
		c.await(t, "destroy\n")
		c.kill9(t)
		c.check(t, want)
	}
}

// tagAndUntag makes two events. While the engine is away, the requests fail.
func (r *rig) tagAndUntag() {
	r.call(http.MethodPost, "/images/busybox/tag?repo=other", "")
	r.call(http.MethodDelete, "/images/other", "")
}

// keepTagging makes events until stop is called, or until the test ends.
func (r *rig) keepTagging(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			r.tagAndUntag()
			<-time.After(pollEvery)
		}
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

// dropEvents restarts the engine with a smaller journal, and makes large events until the
// engine no longer has the event after number after. It returns the number of the oldest
// event that the engine has. The newest event is a "destroy".
func (r *rig) dropEvents(t *testing.T, after uint64) uint64 {
	t.Helper()
	r.kill(t, r.enginePid())
	r.args = append(r.args, "--events-max-size", "1MiB")
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	var created struct{ ID string }
	a := r.call(http.MethodPost, "/containers/create?name=large0",
		fmt.Sprintf(`{"Image": "busybox", "Labels": {"large": %q}}`, strings.Repeat("x", 200<<10)))
	if err := json.Unmarshal([]byte(a.body), &created); err != nil || a.status != http.StatusCreated {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	for i := range 8 {
		if a := r.call(http.MethodPost, fmt.Sprintf("/containers/%s/rename?name=large%d", created.ID, i+1),
			""); a.status != http.StatusNoContent {
			t.Fatalf("rename: %+v", a)
		}
	}
	if a := r.call(http.MethodDelete, "/containers/"+created.ID, ""); a.status != http.StatusNoContent {
		t.Fatalf("remove: %+v", a)
	}
	var gone struct{ Oldest, Newest uint64 }
	a = r.call(http.MethodGet, fmt.Sprintf("/events?cursor=%d", after), "")
	if err := json.Unmarshal([]byte(a.body), &gone); err != nil || a.status != http.StatusGone ||
		gone.Oldest <= after+1 || gone.Newest <= gone.Oldest {
		t.Fatalf("after %d: %d %s: %v", after, a.status, a.body, err)
	}
	return gone.Oldest
}

// TestEventExamplesHalfAnEvent runs the programs of docs/events.md with an engine that is killed while it writes an
// event, and comes back with another journal.
func TestEventExamplesHalfAnEvent(t *testing.T) {
	t.Parallel()
	for name, c := range eventConsumers(t, "") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := &dyingEngine{}
			c.socket = engine.serve(t)
			c.start(t)
			c.await(t, "6 start\n")
			c.kill9(t)
			c.check(t, []string{"first 1 start", "second 4 gap", "second 5 start", "second 6 start"})
			if engine.wrong.String() != "" {
				t.Error(engine.wrong.String())
			}
		})
	}
}

// dyingEngine answers requests for events as an engine does that dies in the middle of
// event 2 of its first journal, and then has a second journal with the events 5 and 6.
type dyingEngine struct {
	requests atomic.Int64
	wrong    buffer // requests that were not expected
}

// serve returns the socket, at which the engine answers until the test ends.
func (d *dyingEngine) serve(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "elt") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "engine.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(d.answer), ReadHeaderTimeout: waitLimit}
	ended := make(chan struct{})
	go func() {
		_ = server.Serve(listener) // ends with Close
		close(ended)
	}()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return socket
}

// answer answers the consumer's requests, which come one after the other.
func (d *dyingEngine) answer(w http.ResponseWriter, r *http.Request) {
	request := d.requests.Add(1)
	event := func(seq int) []byte {
		line := fmt.Appendf(nil, `{"Type":"container","Action":"start","Actor":{"ID":"c"},"seq":%d}`+"\n", seq)
		if r.Header.Get("Accept") == "text/event-stream" {
			return fmt.Appendf(nil, "id: %d\ndata: %s\n", seq, line)
		}
		return line
	}
	query := r.URL.Query()
	at := fmt.Sprintf("%s %s", query.Get("journal"), query.Get("cursor"))
	fresh := at == " 0" || query.Get("since") == "0"
	flush := http.NewResponseController(w).Flush
	switch {
	case request == 1 && fresh:
		w.Header().Set("Engine-Lite-Journal", "first")
		_, _ = w.Write(event(1))
		second := event(2)
		_, _ = w.Write(second[:len(second)-5])
		_ = flush() // the client has it all
		panic(http.ErrAbortHandler)
	case request == 2 && at == "first 1":
		w.WriteHeader(http.StatusGone)
		_, _ = w.Write([]byte(`{"message":"gone","journal":"second","oldest":5,"newest":6}`))
	case request == 3 && at == "second 4":
		w.Header().Set("Engine-Lite-Journal", "second")
		_, _ = w.Write(append(event(5), event(6)...))
		_ = flush()
		<-r.Context().Done() // with the consumer's death
	default:
		_, _ = fmt.Fprintf(&d.wrong, "request %d: %s\n", request, r.URL)
		_, _ = w.Write(event(6)) // the last one: the test goes on
	}
}
