package libcontainerdtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// randomSequence is a random sequence of requests, exits and faults.
type randomSequence struct {
	*env
	rng       *rand.Rand
	callers   sync.WaitGroup // requests in progress
	execs     int
	restarted bool // the client doesn't know everything; more may be left until the container is deleted
	forgot    bool // the daemon may not know how a process ended

	mu               sync.Mutex
	callbackRandom   *rand.Rand      // of the callbacks
	panicked         map[string]bool // the events whose callback has panicked
	callbacksSucceed bool            // callbacks neither fail nor panic
}

// TestRandomSequences runs 2,000 random sequences.
func TestRandomSequences(t *testing.T) {
	const sequences, steps = 2000, 25
	for seed := range uint64(sequences) {
		play(t, seed, steps)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func play(t *testing.T, seed uint64, steps int) {
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	slow := func(tap *Tap) {
		if seed%2 == 1 { // the state may have changed when the answer comes
			newJitter(seed, 2*time.Second).tap(tap)
		}
	}
	bubble(t, slow, func(e *env) {
		w := &randomSequence{env: e, rng: rand.New(rand.NewPCG(seed, 1)),
			callbackRandom: rand.New(rand.NewPCG(seed, 2)),
			panicked:       map[string]bool{}}
		e.recorder.OnEvent, e.recorder.OnAttach = w.callback, w.attach
		for id := range 3 {
			w.create(id)
		}
		for range steps {
			w.step()
			<-time.After(time.Duration(1 + w.rng.Int64N(int64(3*time.Second))))
		}
		w.endFaults()
		w.checkAll()
	})
}

// callback fails and panics now and then, at most once per event, so that no event is
// dropped.
func (w *randomSequence) callback(ev libcontainerd.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := fmt.Sprint(ev.ContainerID, ev.ProcessID, ev.Generation, ev.Type)
	switch choice := w.callbackRandom.IntN(12); {
	case w.callbacksSucceed:
	case choice < 2:
		return errors.New("not now")
	case choice == 2 && !w.panicked[name]:
		w.panicked[name] = true
		panic("now")
	}
	return nil
}

func (w *randomSequence) attach(string, string, libcontainerd.Streams) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch choice := w.callbackRandom.IntN(20); {
	case w.callbacksSucceed:
	case choice == 0:
		return errors.New("no place")
	case choice == 1:
		panic("attach")
	}
	return nil
}

// id returns one of three containers, which are created and deleted.
func (w *randomSequence) id(n int) string { return fmt.Sprintf("c%d", n) }

func (w *randomSequence) create(n int) {
	ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
	defer cancel()
	scripts := []string{"sleep 1000000", "cat; sleep 1000000", "sleep 5; exit 3", "echo a; exit 0", "sleep 60; exit 4"}
	_, err := w.client.Create(ctx, w.id(n), w.Spec(scripts[w.rng.IntN(len(scripts))]), w.Options)
	switch {
	case errdefs.IsInvalidArgument(err):
		w.Error(err)
	case err == nil: // the generations begin with 1 again
		w.ended(w.id(n))
		if err := w.recorder.Check(); err != nil {
			w.Error(err)
		}
		w.recorder.forget(w.id(n))
	}
}

// ended fails unless all processes of a deleted container have ended.
func (w *randomSequence) ended(id string) {
	o, err := w.recorder.Remembered(id, w.Options)
	w.must(err)
	if o.Pid != 0 {
		w.Errorf("%s never ended: %+v", id, o)
	}
}

// step does one thing, and doesn't wait for its result.
func (w *randomSequence) step() {
	n := w.rng.IntN(3)
	if w.rng.IntN(10) < 3 {
		w.fault(w.id(n))
		return
	}
	ctr, err := w.client.Get(w.id(n))
	if err != nil {
		w.create(n)
		return
	}
	request := w.request(ctr)
	w.callers.Go(func() {
		ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
		defer cancel()
		if err := request(ctx); errors.Is(err, errdefs.ErrInvalidArgument) {
			w.Error(err)
		}
	})
}

// request makes a random request.
func (w *randomSequence) request(ctr *libcontainerd.Container) func(ctx context.Context) error {
	stdio := libcontainerd.StdioConfig{Stdin: true}
	switch w.rng.IntN(14) {
	case 0, 1, 2:
		return func(ctx context.Context) error {
			_, err := ctr.Start(ctx, libcontainerd.StartOptions{Stdio: stdio})
			return err
		}
	case 3, 4:
		w.execs++
		id := fmt.Sprintf("e%d", w.rng.IntN(w.execs))
		script := []string{"sleep 100000", "exit 5", "cat", "", "sleep 7; exit 6"}[w.rng.IntN(5)]
		return func(ctx context.Context) error {
			_, err := ctr.Exec(ctx, id, w.Process(script), stdio)
			return err
		}
	case 5:
		return func(ctx context.Context) error { return ctr.KillAll(ctx, syscall.SIGTERM) }
	case 6:
		if all := ctr.Execs(); len(all) > 0 {
			return func(ctx context.Context) error { return ctr.Signal(ctx, all[0], syscall.SIGKILL) }
		}
		return func(ctx context.Context) error { return ctr.Update(ctx, &specs.LinuxResources{}) }
	case 7, 8:
		return ctr.Pause
	case 9, 10:
		return ctr.Resume
	case 11:
		return func(context.Context) error { return ctr.CloseStdin(initProcess) }
	case 12:
		return func(ctx context.Context) error { return ctr.Delete(ctx, libcontainerd.DeleteOptions{}) }
	}
	return func(ctx context.Context) error { return ctr.Delete(ctx, libcontainerd.DeleteOptions{Force: true}) }
}

// fault makes a random fault.
func (w *randomSequence) fault(id string) {
	ops := []string{"CreateTask", "Start", "AddExec", "Delete", "Kill", "Wait", "Tasks", "Pause", "Resume", "Subscribe",
		"CloseIO", "CreateContainer", "DeleteContainer", "Stats"}
	switch w.rng.IntN(10) {
	case 0, 1:
		f := Fault{Err: []error{errdefs.ErrUnavailable, errdefs.ErrInternal}[w.rng.IntN(2)], Late: w.rng.IntN(2) == 0}
		w.Fake.Fail(ops[w.rng.IntN(len(ops))], 1+w.rng.IntN(2), f)
	case 2:
		op := ops[w.rng.IntN(len(ops))]
		w.Fake.Fail(op, 1, Fault{Hang: op != "Subscribe"})
	case 3:
		w.Fake.SetDown(true)
		<-time.After(time.Duration(1+w.rng.IntN(40)) * time.Second)
		w.Fake.SetDown(false)
	case 4:
		w.Fake.CutSubscriptions()
	case 5:
		w.Fake.FilterEvents(w.filter())
	case 6:
		w.Fake.OOMKill(id)
	case 7:
		if w.rng.IntN(3) == 0 {
			w.forgot = true
			w.Fake.Forget(id)
		}
	case 8:
		w.publishWrongEvent(id)
	case 9:
		w.restart()
	}
}

// filter loses, repeats or delays events.
func (w *randomSequence) filter() func(libcontainerd.DaemonEvent) []libcontainerd.DaemonEvent {
	var held []libcontainerd.DaemonEvent
	switch w.rng.IntN(4) {
	case 0:
		return loseEvents
	case 1:
		return func(e libcontainerd.DaemonEvent) []libcontainerd.DaemonEvent {
			return []libcontainerd.DaemonEvent{e, e, e}
		}
	case 2:
		return func(e libcontainerd.DaemonEvent) []libcontainerd.DaemonEvent {
			if held = append(held, e); len(held) < 4 {
				return nil
			}
			all := held
			held = nil
			slices.Reverse(all)
			return all
		}
	}
	return nil
}

// publishWrongEvent publishes a wrong event, or makes the daemon use a pid again.
func (w *randomSequence) publishWrongEvent(id string) {
	w.Fake.mu.Lock()
	w.Fake.pids = noProcess
	w.Fake.mu.Unlock()
	w.Fake.Publish(libcontainerd.DaemonEvent{Type: libcontainerd.DaemonEventType(w.rng.IntN(10)), ContainerID: id,
		ProcessID: []string{initProcess, "", "e0", "e1"}[w.rng.IntN(4)], Pid: noProcess + w.rng.IntN(4),
		Exit: libcontainerd.Exit{Code: 99, Time: time.Now()}})
}

// restart replaces the client, and restores its containers from the events that were
// delivered.
func (w *randomSequence) restart() {
	w.restarted = true
	known := w.client.List()
	w.stop()
	w.callers.Wait()
	w.prepare()
	for _, ctr := range known {
		if ctr.Status() == libcontainerd.StatusDeleted {
			continue
		}
		opts, err := w.recorder.Remembered(ctr.ID(), w.Options)
		w.must(err)
		for {
			_, err := w.client.Restore(w.ctx, ctr.ID(), opts)
			if err == nil {
				break
			}
			w.mu.Lock()
			sane := w.callbacksSucceed
			w.mu.Unlock()
			if sane || errdefs.IsNotFound(err) || errdefs.IsInvalidArgument(err) {
				w.Fatalf("restoring %s from %+v: %v", ctr.ID(), opts, err)
			}
		}
	}
	w.begin()
}

// endFaults ends all faults, and waits for the work that they delayed.
func (w *randomSequence) endFaults() {
	w.mu.Lock()
	w.callbacksSucceed = true
	w.mu.Unlock()
	w.Fake.Release()
	w.Fake.mu.Lock()
	clear(w.Fake.faults)
	w.Fake.mu.Unlock()
	w.Fake.FilterEvents(nil)
	w.callers.Wait()
	for id := range 3 {
		w.create(id) // an engine repeats a create that failed
	}
	<-time.After(3 * time.Minute)
}

// checkAll compares the client with the daemon, ends all containers, and checks that each process that was
// started has ended once.
func (w *randomSequence) checkAll() {
	if err := w.consistent(w.restarted); err != nil {
		w.Error(err)
	}
	for _, ctr := range w.client.List() {
		w.must(ctr.Delete(w.ctx, libcontainerd.DeleteOptions{Force: true}))
	}
	for id := range 3 {
		w.ended(w.id(id))
		for _, ev := range w.recorder.Events(w.id(id)) {
			if ev.Exit.Unknown != "" && !w.forgot {
				w.Errorf("%s: %+v is unknown, and the daemon never forgot", w.id(id), ev)
			}
		}
	}
}
