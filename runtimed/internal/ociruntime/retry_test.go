package ociruntime

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	runc "github.com/containerd/go-runc"
)

var errRefused = errors.New("refused")

func TestRetry(t *testing.T) {
	always := func(error) bool { return true }
	for name, c := range map[string]struct {
		passing  func(error) bool
		failures int // before the success
		request  time.Duration
		calls    int
		fails    bool
		within   time.Duration
	}{
		"success":             {always, 0, time.Hour, 1, false, 0},
		"a reason that stays": {func(error) bool { return false }, 1, time.Hour, 1, true, 0},
		"two refusals":        {always, 2, time.Hour, 3, false, 3 * firstPause},
		"for ever":            {always, 1000, time.Hour, 19, true, retryBound},
		"the request ends":    {always, 1000, 100 * time.Millisecond, 4, true, 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				request, cancel := context.WithTimeout(t.Context(), c.request)
				defer cancel()
				began, calls := time.Now(), 0
				err := retry(WithRequest(t.Context(), request), c.passing, func() error {
					if calls++; calls > c.failures {
						return nil
					}
					return errRefused
				})
				if calls != c.calls || errors.Is(err, errRefused) != c.fails || time.Since(began) > c.within {
					t.Errorf("%d calls, want %d, in %v, at most %v: %v", calls, c.calls, time.Since(began), c.within,
						err)
				}
			})
		})
	}
}

// An operation that has ended is not tried again, whatever its last error was.
func TestRetryEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := retry(ctx, func(error) bool { return true }, func() error {
		calls++
		cancel()
		return errRefused
	})
	if calls != 1 || !errors.Is(err, errRefused) {
		t.Errorf("%d calls: %v", calls, err)
	}
}

// A program that is being written can't be run, and is tried again. One that was run is
// not run a second time, whatever its result was.
func TestBeginRunsOnce(t *testing.T) {
	dir := t.TempDir()
	path, ran := filepath.Join(dir, "runtime"), filepath.Join(dir, "ran")
	script := "#!/bin/sh\necho ran >>" + ran + "\nexit 1\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	writing, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	err = Runtime{Path: path, Root: dir}.begin(t.Context(), "exec", dir, func(c *runc.Runc) error {
		if tries++; tries == 3 {
			writing.Close()
		}
		return c.Create(t.Context(), "c", dir, &runc.CreateOpts{IO: Stdio{}})
	})
	if err == nil || tries != 3 {
		t.Errorf("%d tries: %v", tries, err)
	}
	if text, err := os.ReadFile(ran); err != nil || string(text) != "ran\n" {
		t.Errorf("%q, %v", text, err)
	}
}
