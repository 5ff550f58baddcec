package journal

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// hold makes the committer busy until release is called, and returns once it is.
func hold(t *testing.T, j *Journal) (release func()) {
	t.Helper()
	entered, leave := make(chan struct{}), make(chan struct{})
	var waiter sync.WaitGroup
	waiter.Go(func() {
		err := j.Commit(context.Background(), func(*Tx) error {
			close(entered)
			<-leave
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-entered
	return sync.OnceFunc(func() {
		close(leave)
		waiter.Wait()
	})
}

func TestCommitsThatArriveTogetherShareATransaction(t *testing.T) {
	j := open(t, newPath(t), Options{})
	release := hold(t, j)
	defer release()
	before := j.current().tx
	var commits sync.WaitGroup
	for i := range 100 {
		commits.Go(func() {
			commit(t, j, func(tx *Tx) {
				tx.Put("n", fmt.Sprint(i), nil)
				appendNumbered(tx)
			})
		})
	}
	eventually(t, "100 commits queued", func() bool { return j.queue.length() == 100 })
	release()
	commits.Wait()
	if got := j.current().tx - before; got != 1 {
		t.Errorf("100 commits took %d transactions", got)
	}
	if j.Newest() != 100 || len(records(t, j, "n")) != 100 {
		t.Errorf("%d events and %d records", j.Newest(), len(records(t, j, "n")))
	}
}

func TestAFailingFunctionHarmsOnlyItself(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	release := hold(t, j)
	defer release()
	errs := make([]error, 40)
	var commits sync.WaitGroup
	for i := range errs {
		commits.Go(func() {
			errs[i] = j.Commit(t.Context(), func(tx *Tx) error {
				tx.Put("n", fmt.Sprint(i), []byte("x"))
				tx.Append(Event{Type: "container", ID: fmt.Sprint(i)})
				return failure(i)
			})
		})
	}
	eventually(t, "40 commits queued", func() bool { return j.queue.length() == 40 })
	release()
	commits.Wait()
	kept := records(t, j, "n")
	for i, err := range errs {
		_, ok := kept[fmt.Sprint(i)]
		if ok != (i%4 == 0) || (err == nil) != (i%4 == 0) {
			t.Errorf("commit %d: kept %v, error %v", i, ok, err)
		}
	}
	for i, e := range allEvents(t, j) {
		if e.Seq != uint64(i+1) || kept[e.ID] != "x" {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if j.Newest() != 10 {
		t.Errorf("newest is %d", j.Newest())
	}
}

// failure lets one of four functions pass and the others fail in three ways.
func failure(i int) error {
	switch i % 4 {
	case 1:
		return errRefused
	case 2:
		panic("out of luck")
	case 3:
		runtimePanic(nil)
	}
	return nil
}

func runtimePanic(p *int) { *p = 1 }

func TestAPanicIsReported(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	err := j.Commit(t.Context(), func(*Tx) error { panic(errRefused) })
	var panicked *PanicError
	if !errors.As(err, &panicked) || !errdefs.IsInternal(err) {
		t.Fatalf("got %v", err)
	}
	if panicked.Value != any(errRefused) || !strings.Contains(string(panicked.Stack), "TestAPanicIsReported") {
		t.Errorf("value %v, stack %s", panicked.Value, panicked.Stack)
	}
	if !strings.Contains(err.Error(), "refused") {
		t.Errorf("text %q", err)
	}
}

func TestACommitterThatIsEndedIsReplaced(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	err := j.Commit(t.Context(), func(tx *Tx) error {
		tx.Put("n", "1", nil)
		runtime.Goexit()
		return nil
	})
	if !errdefs.IsInternal(err) {
		t.Errorf("got %v", err)
	}
	appendEvents(t, j, 1)
	if len(records(t, j, "n")) != 0 || j.Newest() != 1 {
		t.Errorf("records %v, newest %d", records(t, j, "n"), j.Newest())
	}
}

func TestACommitIsWithdrawnUntilItIsTaken(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	release := hold(t, j)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { result <- j.Commit(ctx, func(tx *Tx) error { t.Error("it ran"); return nil }) }()
	eventually(t, "a commit queued", func() bool { return j.queue.length() == 1 })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := j.Commit(ctx, func(*Tx) error { t.Error("it ran"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestACommitThatWasTakenIgnoresItsContext(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	ctx, cancel := context.WithCancel(t.Context())
	err := j.Commit(ctx, func(tx *Tx) error {
		cancel()
		appendNumbered(tx)
		return nil
	})
	if err != nil || j.Newest() != 1 {
		t.Errorf("error %v, newest %d", err, j.Newest())
	}
}

func TestACommitThatWritesNothingCostsNoTransaction(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	before := j.current().tx
	commit(t, j, func(tx *Tx) { tx.Get("n", "1") })
	if j.current().tx != before {
		t.Error("it did")
	}
}

func TestWrongArgumentsAreRefused(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	long := strings.Repeat("x", 32<<10)
	for name, fn := range map[string]func(*Tx){
		"empty kind":  func(tx *Tx) { tx.Put("", "k", nil) },
		"empty key":   func(tx *Tx) { tx.Put("n", "", nil) },
		"NUL in kind": func(tx *Tx) { tx.Put("a\x00b", "k", nil) },
		"long key":    func(tx *Tx) { tx.Put("n", long, nil) },
		"delete":      func(tx *Tx) { tx.Delete("", "k") },
		"large value": func(tx *Tx) { tx.Put("n", "k", make([]byte, maxRecordBytes+1)) },
		"large event": func(tx *Tx) {
			tx.Append(Event{Attributes: map[string]string{"a": strings.Repeat("x", 1<<20)}})
		},
		"distant event": func(tx *Tx) { tx.Append(Event{Time: farFuture}) },
	} {
		err := j.Commit(t.Context(), func(tx *Tx) error {
			tx.Put("n", "other", nil)
			fn(tx)
			return nil
		})
		if !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if j.Newest() != 0 || len(records(t, j, "n")) != 0 {
		t.Error("something was kept")
	}
	commit(t, j, func(tx *Tx) { tx.Put("n", long[:32<<10-2], nil) })
}

func TestAfterCloseNothingIsTaken(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	if err := errors.Join(j.Close(), j.Close()); err != nil {
		t.Fatal(err)
	}
	_, _, pollErr := j.Cursor(0).Poll()
	_, sinceErr := j.CursorSince(farFuture)
	for _, err := range []error{
		j.Commit(t.Context(), func(*Tx) error { return nil }),
		j.View(func(*Snapshot) error { return nil }),
		pollErr,
		sinceErr,
	} {
		if !errors.Is(err, ErrClosed) || !errdefs.IsUnavailable(err) {
			t.Errorf("got %v", err)
		}
	}
}

func TestCloseFinishesWhatIsQueued(t *testing.T) {
	path := newPath(t)
	j := open(t, path, unbounded)
	release := hold(t, j)
	defer release()
	var commits sync.WaitGroup
	for range 10 {
		commits.Go(func() { commit(t, j, appendNumbered) })
	}
	eventually(t, "10 commits queued", func() bool { return j.queue.length() == 10 })
	closed := make(chan error)
	go func() { closed <- j.Close() }()
	eventually(t, "commits refused", func() bool {
		j.queue.mu.Lock()
		defer j.queue.mu.Unlock()
		return j.queue.closed
	})
	release()
	commits.Wait()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if n := open(t, path, unbounded).Newest(); n != 10 {
		t.Errorf("newest is %d", n)
	}
}

func TestAnOutcomeThatIsUnknownStopsTheJournal(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	appendEvents(t, j, 1)
	if err := j.explain(unix.EIO, j.current().tx+1); !errdefs.IsInternal(err) || !errors.Is(err, unix.EIO) {
		t.Errorf("a transaction that isn't visible: %v", err)
	}
	if err := j.explain(unix.ENOSPC, j.current().tx+1); !errdefs.IsResourceExhausted(err) {
		t.Errorf("a full disk: %v", err)
	}
	appendEvents(t, j, 1)
	if err := j.explain(unix.EIO, j.current().tx); !errdefs.IsUnknown(err) {
		t.Errorf("a visible one: %v", err)
	}
	err := j.Commit(t.Context(), func(*Tx) error { return nil })
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("the next commit: %v", err)
	}
	if len(allEvents(t, j)) != 2 {
		t.Error("events can't be read any more")
	}
}
