// Package stacks has a process write what its goroutines do to a file whenever it is asked to.
package stacks

import (
	"os"
	"os/signal"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/atomicfile"
)

// maxSize bounds what is written, in bytes.
const maxSize = 64 << 20

// OnSignal replaces the file with the stacks of all goroutines at each SIGUSR1, until
// the caller ends that by what is returned, which also removes the file. An error of
// writing goes to failed, if that isn't nil.
func OnSignal(path string, failed func(error)) (stop func()) {
	asked, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(asked, unix.SIGUSR1)
	var writer sync.WaitGroup
	writer.Go(func() { // ends with stop
		for {
			select {
			case <-asked:
				if err := atomicfile.Write(path, all(), 0o600); err != nil && failed != nil {
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
		_ = os.Remove(path) // there is none where nobody asked
	}
}

// all is as runtime.Stack has it: a paragraph for each goroutine.
func all() []byte {
	for size := 64 << 10; ; size *= 2 {
		b := make([]byte, size)
		if n := runtime.Stack(b, true); n < size || size >= maxSize {
			return b[:n]
		}
	}
}
