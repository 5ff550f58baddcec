package simulation

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// trace is what happened in a run, and a hash of it. Events of the same moment have no
// order, since goroutines that are woken by one message may run in any order.
type trace struct {
	begin time.Time
	keep  bool // lines too

	mu    sync.Mutex
	sum   uint64
	count int
	lines []line
}

type line struct {
	at   time.Duration
	text string
}

func (t *trace) add(what, who, how string) {
	at := time.Since(t.begin)
	h := mix(hash(uint64(at), what, who, how))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum += h
	t.count++
	if t.keep {
		t.lines = append(t.lines, line{at, strings.TrimSpace(what + " " + who + " " + how)})
	}
}

// String is the trace in order of time.
func (t *trace) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortFunc(t.lines, func(a, b line) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return strings.Compare(a.text, b.text)
	})
	var b strings.Builder
	for _, l := range t.lines {
		fmt.Fprintf(&b, "%16.9f  %s\n", l.at.Seconds(), l.text)
	}
	return b.String()
}

// hash is what two runs of a seed have in common.
func (t *trace) hash() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("%016x of %d", t.sum, t.count)
}
