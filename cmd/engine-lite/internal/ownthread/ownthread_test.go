package ownthread

import (
	"errors"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRun changes the working directory of many threads, and of no other.
func TestRun(t *testing.T) {
	before, err := os.Readlink("/proc/self/cwd")
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed")
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			err := Run(func() error {
				if unix.Gettid() == unix.Getpid() {
					t.Error("fn runs on the first thread")
				}
				return errors.Join(unix.Unshare(unix.CLONE_FS), unix.Chdir("/proc"), failed)
			})
			if !errors.Is(err, failed) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if now, err := os.Readlink("/proc/self/cwd"); now != before || err != nil {
		t.Errorf("the process is in %s, %v", now, err)
	}
	for range 50 {
		all.Go(func() {
			if dir, err := os.Readlink("/proc/thread-self/cwd"); dir != before || err != nil {
				t.Errorf("a thread of others is in %s, %v", dir, err)
			}
		})
	}
	all.Wait()
}
