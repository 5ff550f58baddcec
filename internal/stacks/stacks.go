// Package stacks writes the stacks of a process's goroutines to a file at each SIGUSR1, and gives back
// memory that the process does not use.
package stacks

import (
	"os"
	"os/signal"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/atomicfile"
	"github.com/engine-lite/engine-lite/internal/heap"
)

// maxSize is the most that is written, in bytes.
const maxSize = 64 << 20

// OnSignal writes the stacks of all goroutines to the file at path, in place of its
// contents, at each SIGUSR1. Before the file appears, garbage is collected and free memory
// is returned to the system: whoever reads the process's memory next reads what it uses.
// The caller calls stop, which ends this and removes the file. OnSignal calls failed, if
// that isn't nil, with an error of writing.
func OnSignal(path string, failed func(error)) (stop func()) {
	asked, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(asked, unix.SIGUSR1)
	var writer sync.WaitGroup
	writer.Go(func() { // ends with stop
		for {
			select {
			case <-asked:
				list := all()
				heap.Shrink()
				if err := atomicfile.Write(path, list, 0o600); err != nil && failed != nil {
					failed(err)
				}
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(asked)
		close(done)
		writer.Wait()
		_ = os.Remove(path) // without a signal there is none
	}
}

// all returns the stacks in the form of runtime.Stack: a paragraph for each goroutine.
func all() []byte {
	for size := 64 << 10; ; size *= 2 {
		b := make([]byte, size)
		if n := runtime.Stack(b, true); n < size || size >= maxSize {
			return b[:n]
		}
	}
}
