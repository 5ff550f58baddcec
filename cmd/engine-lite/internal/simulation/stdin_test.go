package simulation

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

// attach gives the next run of the container a stdin that is closed after some time.
func (u *user) attach(inc *engineInstance, d *dice) {
	lasts := d.between(0, 3*time.Second)
	if d.chance(3) {
		lasts = 0 // most likely closed before the start has begun
	}
	u.attachStdin(inc, lasts)
}

// attachStdin attaches a client to the current run, or to the next one if the container
// does not run. The client closes stdin after the given time. The request goes on while
// its user does other things.
func (u *user) attachStdin(inc *engineInstance, lasts time.Duration) {
	id, opened := u.id, make(chan struct{})
	client := &stdinClient{inc: inc, detached: make(chan struct{})}
	h := u.w.model.history(id)
	if client.generation = h.generation; !h.alive() {
		client.generation++
	}
	u.w.note("user", u.name+" attaches", short(id))
	inc.calls.Go(func() {
		defer close(client.detached)
		from := &input{lasts: lasts, ctx: inc.attachContext}
		err := inc.engine.ContainerAttach(inc.attachContext, id, engine.AttachOptions{
			Stdin: true, Stdout: true, Stderr: true, Stream: true,
			Open: func(bool) (engine.Streams, error) {
				close(opened)
				return engine.Streams{Stdin: from, Stdout: io.Discard, Stderr: io.Discard}, nil
			},
		})
		if !inc.isKilled() {
			u.w.note("user", u.name+" was attached", fmt.Sprint(err))
		}
	})
	select {
	case <-opened:
		u.stdin = client
	case <-inc.ending:
	case <-time.After(5 * time.Second):
	}
}

// stdinClient is a client that has the stdin of one run, and closes it.
type stdinClient struct {
	generation uint64
	inc        *engineInstance // that it is attached to
	detached   chan struct{}   // closed when the attach request has ended
	since      time.Time       // when the run was first seen with this client, and not paused since; zero before
}

// stdinClosed is true if the client of the current run closes its stdin, so that the
// container must end by itself. It reports a container that does not end within ten
// minutes.
func (u *user) stdinClosed(inc *engineInstance, h history) bool {
	f := u.stdin
	if f != nil && f.since.IsZero() && f.inc != inc {
		u.stdin, f = nil, nil // its engine has ended
	}
	if f == nil || f.generation != h.generation || !h.alive() {
		return false
	}
	if f.since.IsZero() {
		select {
		case <-f.detached: // it was attached to the run before
			u.stdin = nil
			return false
		default:
		}
		f.since = time.Now()
	}
	if h.status == "paused" {
		f.since = time.Now()
	}
	if time.Since(f.since) > 10*time.Minute {
		u.w.violation("stdin of %s was closed, and it doesn't end", short(u.id))
		u.stdin = nil
	}
	return true
}

// input is what a client sends: a line, and after a while the end of the stream.
type input struct {
	lasts time.Duration
	ctx   context.Context
	sent  bool
}

func (i *input) Read(p []byte) (int, error) {
	if !i.sent && i.lasts > 0 {
		i.sent = true
		return copy(p, "line\n"), nil
	}
	t := time.NewTimer(i.lasts)
	defer t.Stop()
	select {
	case <-t.C:
	case <-i.ctx.Done():
	}
	return 0, io.EOF
}
