package simulation

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

// attach gives the next run of the container a stdin that ends some time.
func (u *user) attach(inc *incarnation, d *dice) {
	lasts := d.between(0, 3*time.Second)
	if d.chance(3) {
		lasts = 0 // before the start has begun, most likely
	}
	u.join(inc, lasts)
}

// join attaches, until what it sends has come to its end, to the run under way or
// the next one. The request goes on while its user does other things.
func (u *user) join(inc *incarnation, lasts time.Duration) {
	id, let := u.id, make(chan struct{})
	fed := &feeding{inc: inc, over: make(chan struct{})}
	h := u.w.ledger.of(id)
	if fed.generation = h.generation; !h.alive() {
		fed.generation++
	}
	u.w.note("user", u.name+" attaches", short(id))
	inc.calls.Go(func() {
		defer close(fed.over)
		from := &input{lasts: lasts, ctx: inc.attached}
		err := inc.engine.ContainerAttach(inc.attached, id, engine.AttachOptions{
			Stdin: true, Stdout: true, Stderr: true, Stream: true,
			Open: func(bool) (engine.Streams, error) {
				close(let)
				return engine.Streams{Stdin: from, Stdout: io.Discard, Stderr: io.Discard}, nil
			},
		})
		if !inc.isDead() {
			u.w.note("user", u.name+" was attached", fmt.Sprint(err))
		}
	})
	select {
	case <-let:
		u.fed = fed
	case <-inc.gone:
	case <-time.After(5 * time.Second):
	}
}

// feeding is a client that has the stdin of one run, and closes it.
type feeding struct {
	generation uint64
	inc        *incarnation  // that let it in
	over       chan struct{} // closed when the client has been let go
	since      time.Time     // when it was first seen to be of a run; zero before
}

// starves tells that a container's client has ended its stdin, so that it has to
// end by itself, and tells of one that doesn't.
func (u *user) starves(inc *incarnation, h history) bool {
	f := u.fed
	if f != nil && f.since.IsZero() && f.inc != inc {
		u.fed, f = nil, nil // it went with its engine
	}
	if f == nil || f.generation != h.generation || !h.alive() {
		return false
	}
	if f.since.IsZero() {
		select {
		case <-f.over: // it had the end of the run before
			u.fed = nil
			return false
		default:
		}
		f.since = time.Now()
	}
	if h.status == "paused" {
		f.since = time.Now()
	}
	if time.Since(f.since) > 10*time.Minute {
		u.w.wrong("stdin of %s was closed, and it doesn't end", short(u.id))
		u.fed = nil
	}
	return true
}

// input is what a client sends: a line, and after a while the end.
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
