// Package ownthread runs code that changes what belongs to a thread, such as its mount namespace.
package ownthread

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Run runs fn on a thread that fn may change as it likes, and returns fn's error. No other goroutine runs on the thread
// afterwards: the runtime ends the thread, since its goroutine ends without unlocking it. fn must not start a goroutine
// that needs what fn has changed.
func Run(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			done <- fn()
			return
		}
		// The first thread of a process never ends, and /proc/self shows its root and its mounts. So it is held while
		// another thread does the work.
		defer runtime.UnlockOSThread()
		done <- Run(fn)
	}()
	return <-done
}
