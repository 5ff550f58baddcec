package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/jsonstream"
	log "github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	goleak.VerifyTestMain(m)
}

// rig is an engine on a runtime daemon, streams and a keeper in memory. These outlive the
// engine.
type rig struct {
	t            testing.TB
	root         string
	spool        string // empty for none
	quiet        bool   // without exec events of probes
	copies       bool   // the daemon copies output, as containerd's shims do
	experimental bool
	bytes        int64 // of events that the journal keeps; 0 is the default
	bound        int64 // of output that is kept for slow clients; 0 is the default
	images       func(ctx context.Context, root string) (Images, error)
	further      []resources.Provider
	streams      *libcontainerdtest.Stdio
	daemon       *libcontainerdtest.Daemon
	keeper       *fakeKeeper
	e            *Engine
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, root: t.TempDir(), streams: &libcontainerdtest.Stdio{}, keeper: newFakeKeeper()}
	r.daemon = libcontainerdtest.NewDaemon(r.streams)
	t.Cleanup(func() {
		r.daemon.Release()
		r.close()
		r.daemon.Close()
	})
	r.open()
	err := r.e.ImageImport(t.Context(), bytes.NewReader(imageTree(t)), "box", "",
		[]string{`CMD ["sh", "-c", "sleep 1000"]`},
		func(jsonstream.Message) error { return nil })
	must(t, err)
	return r
}

func (r *rig) open() {
	r.t.Helper()
	r.openWith(withConn{r.streams})
}

// openWith opens the engine with other streams.
func (r *rig) openWith(streams libcontainerd.Stdio) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := Open(ctx, Options{
		Root: r.root, Version: "test", Runtime: "fake", ExternalLogs: r.spool, QuietProbes: r.quiet,
		EventsMaxBytes: r.bytes, OutputBound: r.bound, OpenImages: r.images, Resources: r.further,
		Experimental: r.experimental,
	}, copier{r.daemon, r.copies}, streams, r.keeper)
	must(r.t, err)
	r.e = e
}

// copier is a daemon that says whether it copies output.
type copier struct {
	*libcontainerdtest.Daemon
	copies bool
}

func (c copier) CopiesOutput() bool { return c.copies }

func (r *rig) close() {
	r.t.Helper()
	if r.e == nil {
		return
	}
	if err := r.e.Close(); err != nil {
		r.t.Errorf("close the engine: %v", err)
	}
	r.e = nil
}

// reopen closes the engine and opens the next one. crash changes the journal between.
func (r *rig) reopen(crash ...func(tx *store.Tx) error) {
	r.t.Helper()
	r.close()
	if len(crash) > 0 {
		j, err := journal.Open(filepath.Join(r.root, "journal.db"), journal.Options{Format: store.Format})
		must(r.t, err)
		for _, fn := range crash {
			must(r.t, store.New(j, journalKinds()...).Update(context.Background(), fn))
		}
		must(r.t, j.Close())
	}
	r.open()
}

// rawContainers writes records of containers without checks.
var rawContainers = store.Text("container", "raw container")

// edit changes a record without the engine's knowledge.
func edit(id string, fn func(r *record.Record)) func(tx *store.Tx) error {
	return func(tx *store.Tx) error {
		r, err := record.Load(tx, id)
		if err != nil {
			return err
		}
		fn(r)
		return r.Put(tx)
	}
}

// createRequest is a container that runs a script.
func createRequest(script string, more ...func(*container.CreateRequest)) container.CreateRequest {
	req := container.CreateRequest{
		Config:     &container.Config{Image: "box", Cmd: []string{"sh", "-c", script}},
		HostConfig: &container.HostConfig{NetworkMode: "none"},
	}
	for _, fn := range more {
		fn(&req)
	}
	return req
}

func autoRemove(req *container.CreateRequest) { req.HostConfig.AutoRemove = true }

func withStdin(req *container.CreateRequest) { req.OpenStdin, req.StdinOnce = true, true }

func (r *rig) create(name, script string, more ...func(*container.CreateRequest)) string {
	r.t.Helper()
	answer, err := r.e.ContainerCreate(r.t.Context(), name, createRequest(script, more...), CreateOptions{})
	must(r.t, err)
	return answer.ID
}

func (r *rig) run(name, script string, more ...func(*container.CreateRequest)) string {
	r.t.Helper()
	id := r.create(name, script, more...)
	must(r.t, r.e.ContainerStart(r.t.Context(), id))
	return id
}

func (r *rig) task(id string) *task {
	r.t.Helper()
	o, err := r.e.find(id)
	must(r.t, err)
	return o
}

// until waits until a condition holds for a container.
func (r *rig) until(id string, cond func(v containers.View) bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	if err := r.task(id).Await(ctx, cond); err != nil {
		r.t.Fatalf("container %.12s: %v", id, err)
	}
}

// ended waits for the exit and for the clean-up after it.
func (r *rig) ended(id string) {
	r.t.Helper()
	r.until(id, func(v containers.View) bool { return v.Gone || !v.Record.Running() && v.Announced == v.Record.Exits })
	if o, err := r.e.find(id); err == nil {
		must(r.t, r.e.cleaned(r.t.Context(), o))
	}
}

// wait asks for the exit code on a condition.
func (r *rig) wait(id string, c container.WaitCondition) <-chan container.WaitResponse {
	r.t.Helper()
	answer, err := r.e.ContainerWait(r.t.Context(), id, c)
	must(r.t, err)
	return answer
}

func receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-ch:
		if !ok {
			t.Fatal("closed without an answer")
		}
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("no answer")
		panic("unreachable")
	}
}

// actions lists the events of a container so far.
func (r *rig) actions(id string) []string {
	r.t.Helper()
	var list []string
	for c := r.e.store.Cursor(0); ; {
		ev, ok, err := c.Poll()
		must(r.t, err)
		if !ok {
			return list
		}
		if ev.ID == id {
			list = append(list, ev.Action)
		}
	}
}

// empty fails the test if anything is left of containers.
func (r *rig) empty() {
	r.t.Helper()
	must(r.t, r.e.store.View(func(s *journal.Snapshot) error {
		for _, kind := range []string{record.Containers.Name, record.Names.Name} {
			if err := s.ForEach(kind, func(key string, _ []byte) error {
				r.t.Errorf("the journal has %s %s", kind, key)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	}))
	if dirs, _ := filepath.Glob(filepath.Join(r.root, "containers", "*")); len(dirs) > 0 {
		r.t.Errorf("files are left: %v", dirs)
	}
	if left := r.streams.Left(); len(left) > 0 {
		r.t.Errorf("streams are left: %v", left)
	}
	if held := r.keeper.keys(); len(held) > 0 {
		r.t.Errorf("the keeper holds %v", held)
	}
	must(r.t, r.daemon.Containers(context.Background(), func(id string) error {
		r.t.Errorf("the runtime daemon has container %s", id)
		return nil
	}))
	for _, o := range r.e.all() {
		r.t.Errorf("the engine has container %s", o.ID)
	}
	if n := r.e.store.Held(); n > 0 {
		r.t.Errorf("%d events are held back", n)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// imageTree is the tar of a root filesystem with users and groups.
func imageTree(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n",
		"etc/group":  "root:x:0:\nusers:x:1000:\nstaff:x:50:alice\nextra:x:77:\n",
	} {
		must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}))
		_, err := io.WriteString(w, text)
		must(t, err)
	}
	must(t, w.Close())
	return buf.Bytes()
}

// withConn gives file descriptors to streams in memory: the keeper asks for them.
type withConn struct{ libcontainerd.Stdio }

func (s withConn) Create(ctx context.Context, c libcontainerd.StreamsConfig) (libcontainerd.Streams, error) {
	streams, err := s.Stdio.Create(ctx, c)
	return connStreams{streams}, err
}

func (s withConn) Restore(ctx context.Context, c libcontainerd.StreamsConfig) (libcontainerd.Streams, error) {
	streams, err := s.Stdio.Restore(ctx, c)
	if err != nil {
		return nil, err
	}
	return connStreams{streams}, nil
}

// RemoveStreams does nothing: these streams are removed with their container at the
// runtime daemon, as FIFOs are.
func (s withConn) RemoveStreams(ctx context.Context, id string) error {
	return s.Stdio.(libcontainerd.StreamRemover).RemoveStreams(ctx, id)
}

type connStreams struct{ libcontainerd.Streams }

func (s connStreams) Stdout() libcontainerd.Output { return withDescriptor(s.Streams.Stdout()) }
func (s connStreams) Stderr() libcontainerd.Output { return withDescriptor(s.Streams.Stderr()) }

func withDescriptor(o libcontainerd.Output) libcontainerd.Output {
	if o == nil {
		return nil
	}
	return connOutput{o}
}

type connOutput struct{ libcontainerd.Output }

func (connOutput) SyscallConn() (syscall.RawConn, error) { return os.Stderr.SyscallConn() }

// fakeKeeper is a keeper that only records what it holds.
type fakeKeeper struct {
	mu   sync.Mutex
	held map[keeper.Held]bool // by key and name
}

func newFakeKeeper() *fakeKeeper { return &fakeKeeper{held: map[keeper.Held]bool{}} }

func (k *fakeKeeper) Hold(_ context.Context, key, name string, _, _ *os.File, _ keeper.HoldOptions) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := keeper.Held{Key: key, Name: name}
	if k.held[h] {
		return fmt.Errorf("%s of %s: %w", name, key, errdefs.ErrAlreadyExists)
	}
	k.held[h] = true
	return nil
}

func (k *fakeKeeper) Take(_ context.Context, key, name string) (stream, raw *os.File, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.held[keeper.Held{Key: key, Name: name}] {
		return nil, nil, fmt.Errorf("%s of %s: %w", name, key, errdefs.ErrNotFound)
	}
	stream, err = os.Open(os.DevNull)
	return stream, nil, err
}

func (k *fakeKeeper) Release(_ context.Context, key, name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for h := range k.held {
		if h.Key == key && (name == "" || h.Name == name) {
			delete(k.held, h)
		}
	}
	return nil
}

func (k *fakeKeeper) List(context.Context) ([]keeper.Held, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []keeper.Held
	for h := range k.held {
		list = append(list, h)
	}
	return list, nil
}

func (k *fakeKeeper) keys() []string {
	held, _ := k.List(context.Background())
	var keys []string
	for _, h := range held {
		keys = append(keys, strings.TrimPrefix(h.Key, Namespace+"/")+":"+h.Name)
	}
	slices.Sort(keys)
	return keys
}

func libFault(err error) libcontainerdtest.Fault { return libcontainerdtest.Fault{Err: err} }
func libHang() libcontainerdtest.Fault           { return libcontainerdtest.Fault{Hang: true} }

// eventually polls a condition.
func eventually(t testing.TB, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it didn't come")
		}
	}
}
