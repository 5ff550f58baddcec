package api

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/moby/moby/api/types"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/eventstream"
)

// mediaTypeEventStream is that of server-sent events (WHATWG HTML, section 9.2).
const mediaTypeEventStream = "text/event-stream"

// recordSeparator goes before each document of a JSON text sequence (RFC 7464).
const recordSeparator = 0x1e

// defaultHeartbeat is well below what proxies take for a dead connection.
const defaultHeartbeat = 15 * time.Second

// eventStream is the answer to GET /events, in one of its forms.
type eventStream struct {
	*records
	version version
	beating sync.WaitGroup

	// mu keeps a heartbeat from going out after an event that is newer.
	mu sync.Mutex
	// passed is the number of the last event that was sent or filtered out.
	passed uint64
}

// sendEvent sends an event.
func (s *eventStream) sendEvent(e eventstream.Event) error {
	line, err := encodeJSON(eventMessage(e, s.version))
	if err != nil {
		return err
	}
	switch s.media {
	case types.MediaTypeJSONSequence:
		line = append([]byte{recordSeparator}, line...)
	case mediaTypeEventStream:
		line = fmt.Appendf(nil, "id: %d\ndata: %s\n", e.Seq, line) // the JSON ends its line, and has no other
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passed = e.Seq
	return s.write(line)
}

func (s *eventStream) omit(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passed = seq
}

// beat sends a heartbeat at each interval until ctx ends.
func (s *eventStream) beat(ctx context.Context, interval time.Duration) {
	s.beating.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if s.heartbeat() != nil {
				return // the next event meets the same error
			}
		}
	})
}

// heartbeat sends a comment and the number of the last event, also if the filters
// kept that event back: a reader whose filters let little through then comes back
// with a number that is still kept. An id without data dispatches no event.
func (s *eventStream) heartbeat() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.passed == 0 {
		return s.write([]byte(":\n\n"))
	}
	return s.write(fmt.Appendf(nil, ":\nid: %d\n\n", s.passed))
}
