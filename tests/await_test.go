package tests

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

const (
	// waitLimit bounds each wait for something that happens outside of the test.
	waitLimit = 3 * time.Minute
	// pollEvery is the pause between two polls.
	pollEvery = 10 * time.Millisecond
)

// await polls until the condition is true, and fails the test if that takes too long.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	if !holds(condition) {
		t.Fatalf("not within %s: %s", waitLimit, what)
	}
}

// holds polls until the condition is true, and reports whether that happened in time.
func holds(condition func() bool) bool {
	deadline := time.Now().Add(waitLimit)
	for !condition() {
		if time.Now().After(deadline) {
			return false
		}
		<-time.After(pollEvery)
	}
	return true
}

// buffer is a bytes.Buffer that is safe for a writer and a reader.
type buffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}
