package queue_test

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"

	"github.com/engine-lite/engine-lite/queue"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// mustAppend appends an item that the queue has no reason to refuse.
func mustAppend[K comparable, V any](t testing.TB, q *queue.Queue[K, V], key K, item V) {
	t.Helper()
	if err := q.Append(key, item); err != nil {
		t.Error(err)
	}
}

// closeQueue closes q and expects that it ends.
func closeQueue[K comparable, V any](t testing.TB, q *queue.Queue[K, V]) {
	t.Helper()
	if err := q.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// neverFails is a reporter for handlers that don't fail.
func neverFails[K comparable, V any](t testing.TB) func(K, V, any, []byte) {
	return func(key K, item V, recovered any, stack []byte) {
		t.Errorf("handler of %v for key %v failed: %v\n%s", item, key, recovered, stack)
	}
}

func TestOrderPerKey(t *testing.T) {
	const appenders, keys, items = 16, 7, 3000
	type item struct{ appender, number int }
	var busy [keys]atomic.Int32
	var handled [keys][]item // written by one handler at a time: the race detector finds a second one
	q := queue.New(func(key int, it item) {
		if busy[key].Add(1) != 1 {
			t.Errorf("two handlers of key %d at the same time", key)
		}
		handled[key] = append(handled[key], it)
		if it.number%64 == 0 {
			runtime.Gosched()
		}
		busy[key].Add(-1)
	}, neverFails[int, item](t))

	var group sync.WaitGroup
	var appended [appenders][keys]int
	for a := range appenders {
		group.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(a)))
			for range items {
				key := random.IntN(keys)
				mustAppend(t, q, key, item{a, appended[a][key]})
				appended[a][key]++
			}
		})
	}
	group.Wait()
	closeQueue(t, q)

	var next [appenders][keys]int
	for key := range keys {
		for _, it := range handled[key] {
			if it.number != next[it.appender][key] {
				t.Fatalf("key %d: appender %d's item %d was handled when %d was due",
					key, it.appender, it.number, next[it.appender][key])
			}
			next[it.appender][key]++
		}
	}
	if next != appended {
		t.Errorf("handled %v, appended %v", next, appended)
	}
}

func TestStuckKeysDelayNoOther(t *testing.T) {
	const stuck, free = 500, 500
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var handled [stuck + free]atomic.Int32
		q := queue.New(func(key int, _ string) {
			if key < stuck {
				<-release
			}
			handled[key].Add(1)
		}, neverFails[int, string](t))
		for range 3 {
			for key := range stuck + free {
				mustAppend(t, q, key, "")
			}
		}
		synctest.Wait()
		for key := range handled {
			if got, want := handled[key].Load(), int32(3); key >= stuck && got != want || key < stuck && got != 0 {
				t.Errorf("key %d: %d items handled while %d keys are stuck", key, got, stuck)
			}
		}
		close(release)
		closeQueue(t, q)
		for key := range handled {
			if got := handled[key].Load(); got != 3 {
				t.Errorf("key %d: %d of 3 items handled", key, got)
			}
		}
	})
}

// A key with a long backlog lets others run, also with one processor: a key that comes later doesn't wait for the last
// item of the backlog.
func TestLongLineLetsOthersGoFirst(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const backlog = 100_000
	begin, sorted := make(chan struct{}), make(chan struct{})
	var q *queue.Queue[string, int]
	var handled, before atomic.Int32
	q = queue.New(func(key string, number int) {
		switch key {
		case "long":
			switch number {
			case 0:
				<-begin
			case backlog / 100:
				mustAppend(t, q, "late", 0)
			}
			handled.Add(1)
		case "late":
			before.Store(handled.Load())
		case "last":
			close(sorted)
		}
	}, neverFails[string, int](t))
	for number := range backlog {
		mustAppend(t, q, "long", number)
	}
	mustAppend(t, q, "last", 0)
	<-sorted // so that all of the backlog is in its line
	close(begin)
	if err := q.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	closeQueue(t, q)
	if got := before.Load(); got > backlog/10 {
		t.Errorf("%d of %d items of another key were handled first", got, backlog)
	}
}

func TestHandlerFails(t *testing.T) {
	type failure struct {
		key, item int
		recovered any
	}
	cause := errors.New("broken")
	handler := func(handled *[]int) func(int, int) {
		return func(_ int, item int) {
			*handled = append(*handled, item)
			switch item % 4 {
			case 1:
				panic(cause)
			case 2:
				runtime.Goexit()
			case 3:
				panic(fmt.Sprint(item))
			}
		}
	}
	reporters := map[string]func(){
		"returns": func() {},
		"panics":  func() { panic("reporter") },
		"exits":   runtime.Goexit,
	}
	for name, end := range reporters {
		t.Run(name, func(t *testing.T) {
			output := captureLog(t)
			var handled []int
			var failures []failure
			q := queue.New(handler(&handled), func(key, item int, recovered any, stack []byte) {
				failures = append(failures, failure{key, item, recovered})
				if !strings.Contains(string(stack), "TestHandlerFails") {
					t.Errorf("stack doesn't show the handler:\n%s", stack)
				}
				end()
			})
			for item := range 300 {
				mustAppend(t, q, 5, item)
			}
			closeQueue(t, q)
			for item := range 300 {
				if handled[item] != item {
					t.Fatalf("item %d was handled when %d was due", handled[item], item)
				}
			}
			for i, f := range failures[:6] {
				recovered := []any{cause, queue.ErrGoexit, "3", cause, queue.ErrGoexit, "7"}[i]
				want := failure{5, []int{1, 2, 3, 5, 6, 7}[i], recovered}
				if f != want {
					t.Errorf("failure %d: %v, want %v", i, f, want)
				}
			}
			if len(handled) != 300 || len(failures) != 225 {
				t.Errorf("%d of 300 handled, %d of 225 reported", len(handled), len(failures))
			}
			if got := strings.Contains(output.String(), "so did its reporter"); got != (name == "panics") {
				t.Errorf("logged: %s", output)
			}
		})
	}
}

// captureLog makes the standard logger write to the buffer that it returns until the test ends.
func captureLog(t *testing.T) *bytes.Buffer {
	var output bytes.Buffer
	before := log.Writer()
	log.SetOutput(&output)
	t.Cleanup(func() { log.SetOutput(before) })
	return &output
}

func TestFailureWithoutReporterIsLogged(t *testing.T) {
	output := captureLog(t)
	q := queue.New(func(string, int) { panic("the reason") }, nil)
	mustAppend(t, q, "the key", 1)
	closeQueue(t, q)
	for _, want := range []string{"the key", "the reason", "TestFailureWithoutReporterIsLogged"} {
		if !strings.Contains(output.String(), want) {
			t.Errorf("log lacks %q: %s", want, output)
		}
	}
}

func TestAppendFromInside(t *testing.T) {
	const depth = 1000
	var q *queue.Queue[string, int]
	var own, other []int
	done := make(chan struct{})
	q = queue.New(func(key string, number int) {
		if key == "other" {
			other = append(other, number)
			if number == depth {
				close(done)
			}
			return
		}
		own = append(own, number)
		if number < depth {
			mustAppend(t, q, "own", number+1)
		}
		mustAppend(t, q, "other", number)
	}, neverFails[string, int](t))
	mustAppend(t, q, "own", 0)
	<-done
	closeQueue(t, q)
	var want []int
	for number := range depth + 1 {
		want = append(want, number)
	}
	if !slices.Equal(own, want) || !slices.Equal(other, want) {
		t.Errorf("handled %d and %d items, or in the wrong order", len(own), len(other))
	}
}

func TestAppendRefuses(t *testing.T) {
	numbers := queue.New(func(float64, int) {}, neverFails[float64, int](t))
	mustAppend(t, numbers, math.Inf(1), 1)
	if err := numbers.Append(math.NaN(), 1); !errdefs.IsInvalidArgument(err) {
		t.Errorf("append with key NaN: %v", err)
	}
	if err := numbers.DrainKey(t.Context(), math.NaN()); err != nil {
		t.Error(err)
	}
	closeQueue(t, numbers)
	if err := numbers.Append(1, 1); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("append after Close: %v", err)
	}

	// A key that can't be compared panics as in a map, and leaves the queue usable.
	anything := queue.New(func(any, int) {}, neverFails[any, int](t))
	func() {
		defer func() {
			if _, ok := recover().(runtime.Error); !ok {
				t.Error("append with a slice as key doesn't panic as a map does")
			}
		}()
		_ = anything.Append([]int{1}, 1)
	}()
	mustAppend(t, anything, any("key"), 1)
	closeQueue(t, anything)
}

func TestIdleKeyHasNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := runtime.NumGoroutine()
		release := make(chan struct{})
		q := queue.New(func(int, int) { <-release }, neverFails[int, int](t))
		for key := range 1000 {
			mustAppend(t, q, key, key)
		}
		synctest.Wait()
		if got := runtime.NumGoroutine() - before; got < 990 { // before may count some that were just ending
			t.Errorf("%d goroutines for 1000 blocked handlers", got)
		}
		close(release)
		time.Sleep(time.Second)
		synctest.Wait()
		for range 100_000 { // one that has left the bubble may not be off the runtime's books yet
			if runtime.NumGoroutine() <= before {
				break
			}
			runtime.Gosched()
		}
		if got := runtime.NumGoroutine() - before; got > 0 {
			t.Errorf("%d goroutines are left", got)
		}
		mustAppend(t, q, 1, 1) // it works as before
		if err := q.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		closeQueue(t, q)
	})
}
