package flock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// open opens a file once more.
func open(t *testing.T, path string) *os.File {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// TestModes takes each pair of locks with two open files.
func TestModes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		first, second Mode
		want          error
	}{
		{"exclusive, exclusive", Exclusive, Exclusive, ErrTaken},
		{"exclusive, shared", Exclusive, Shared, ErrTaken},
		{"shared, exclusive", Shared, Exclusive, ErrTaken},
		{"shared, shared", Shared, Shared, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "lock")
			first, second := open(t, path), open(t, path)
			if err := Try(first, tt.first); err != nil {
				t.Fatal(err)
			}
			err := Try(second, tt.second)
			if !errors.Is(err, tt.want) || errdefs.IsUnavailable(err) != (tt.want != nil) {
				t.Errorf("the second lock: %v, want %v", err, tt.want)
			}
			first.Close()
			if err := Try(second, tt.second); err != nil {
				t.Errorf("the second lock after the end of the first one: %v", err)
			}
		})
	}
}

// TestLockWaits has somebody wait for a lock that is let go, and for one that is not.
func TestLockWaits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Open(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	second := open(t, path)
	if err := Lock(ended, second, Exclusive); !errors.Is(err, ErrTaken) || !errors.Is(err, context.Canceled) {
		t.Errorf("a lock that does not come: %v", err)
	}
	if _, err := Open(path, 3*poll); !errors.Is(err, ErrTaken) {
		t.Errorf("a lock that does not come in time: %v", err)
	}
	time.AfterFunc(3*poll, func() { first.Close() })
	if err := Lock(t.Context(), second, Exclusive); err != nil {
		t.Errorf("a lock that comes later: %v", err)
	}
}

// TestLockEndedContext takes a free lock with a context that has ended.
func TestLockEndedContext(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Lock(ended, open(t, filepath.Join(t.TempDir(), "lock")), Exclusive); err != nil {
		t.Errorf("a free lock: %v", err)
	}
}

// TestFaults locks what cannot be locked.
func TestFaults(t *testing.T) {
	t.Parallel()
	if _, err := Open(filepath.Join(t.TempDir(), "no", "lock"), 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
	file := open(t, filepath.Join(t.TempDir(), "lock"))
	file.Close()
	if err := Try(file, Exclusive); err == nil || errors.Is(err, ErrTaken) {
		t.Errorf("a closed file: %v", err)
	}
}
