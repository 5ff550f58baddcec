package events

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/retry"
)

const (
	defaultSilence = time.Minute
	defaultRetry   = 100 * time.Millisecond
	longestRetry   = 10 * time.Second
)

// Consume calls fn for each event after the cursor's position, one at a time and in
// order. It returns when ctx ends, or after an error that another try doesn't solve.
// While the daemon can't be reached, Consume tries again, with growing delays, for as
// long as it takes. It starts no goroutine that outlives it.
//
// Errors: the cause of ctx; those of fn, after which the next Consume begins with the
// same event; those of the cursor; a *GoneError if the daemon doesn't have the next
// event; DataLoss if the numbers have a gap or an event can't be read; InvalidArgument
// if the daemon refuses the request.
func Consume(ctx context.Context, client *Client, cursor Cursor, fn func(Event) error) error {
	at, err := cursor.Load(ctx)
	if err != nil {
		return err
	}
	c := &consumer{client: client, cursor: cursor, fn: fn, at: at, fresh: at == Position{}}
	for delay := retry.New(client.firstRetry(), longestRetry); ; {
		before := c.at
		err := c.follow(ctx)
		var final *finalError
		switch {
		case errors.As(err, &final):
			return final.error
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !errdefs.IsUnavailable(err):
			return err
		}
		if c.at != before { // events came
			delay.Reset()
		}
		if err := delay.Wait(ctx); err != nil {
			return err
		}
	}
}

func (c *Client) firstRetry() time.Duration {
	if c.Retry == 0 {
		return defaultRetry
	}
	return c.Retry
}

// finalError is an error of fn or of the cursor. It ends Consume whatever its class is.
type finalError struct{ error }

// consumer is the state of one call of Consume.
type consumer struct {
	client *Client
	cursor Cursor
	fn     func(Event) error
	at     Position
	// fresh is set until the first event if the consumer began without a position.
	fresh bool
}

// follow reads one stream to its end.
func (c *consumer) follow(ctx context.Context) error {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := c.client.Silence
	if silence == 0 {
		silence = defaultSilence
	}
	watch := time.AfterFunc(silence, cancel)
	defer watch.Stop()
	resp, err := c.client.get(reading, c.query(), http.Header{"Accept": {"text/event-stream"}})
	var gone *GoneError
	if errors.As(err, &gone) {
		gone.After = c.at
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	c.at.Journal = resp.Header.Get("Engine-Lite-Journal")
	events := newStream(resp.Body, func() { watch.Reset(silence) })
	for {
		e, err := events.next()
		if err != nil {
			return err
		}
		watch.Stop() // fn may take longer than the silence
		if err := c.handle(ctx, e); err != nil {
			return err
		}
		watch.Reset(silence)
	}
}

// query asks for the events after the position; without a position, for all events.
func (c *consumer) query() url.Values {
	if c.fresh {
		return url.Values{"since": {"0"}}
	}
	return url.Values{"cursor": {strconv.FormatUint(c.at.Seq, 10)}, "journal": {c.at.Journal}}
}

// handle checks the event's number, calls fn, and saves the position.
func (c *consumer) handle(ctx context.Context, e Event) error {
	if !c.fresh && e.Seq != c.at.Seq+1 {
		return fmt.Errorf("event %d came after event %d: %w", e.Seq, c.at.Seq, errdefs.ErrDataLoss)
	}
	if err := c.fn(e); err != nil {
		return &finalError{err}
	}
	c.at.Seq, c.fresh = e.Seq, false
	if err := c.cursor.Save(ctx, c.at); err != nil {
		return &finalError{err}
	}
	return nil
}
