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

// Consume hands every event behind the cursor's position to fn, one at a time
// and in order, until ctx ends or an error that trying again doesn't mend. It
// connects again for as long as it takes: while the daemon is away it waits.
//
// The errors: ctx's; fn's own, after which the next Consume begins with the same
// event; the cursor's own; a *GoneError where the daemon hasn't what comes next;
// DataLoss where the numbers have a hole or an event can't be read;
// InvalidArgument where the daemon refuses the request as such.
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
		if c.at != before { // it worked for a while
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

// finalError is one of the caller's own, whatever its class.
type finalError struct{ error }

// consumer is one Consume.
type consumer struct {
	client *Client
	cursor Cursor
	fn     func(Event) error
	at     Position
	// fresh is set until the first event, for a consumer that had no position.
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
		watch.Stop() // the handler may take its time
		if err := c.handle(ctx, e); err != nil {
			return err
		}
		watch.Reset(silence)
	}
}

// query asks for what comes after the position; a new consumer for all there is.
func (c *consumer) query() url.Values {
	if c.fresh {
		return url.Values{"since": {"0"}}
	}
	return url.Values{"cursor": {strconv.FormatUint(c.at.Seq, 10)}, "journal": {c.at.Journal}}
}

// handle checks the number, hands the event over and saves the position.
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
