package simulation

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
)

// How often, in messages or steps, a fault happens.
const (
	cutOften     = 1200 // for a moment, and for a while
	refuseOften  = 250
	streamsOften = 120
	writeOften   = 120
	crashOften   = 500 // each of before and after a write
)

// wire is the connection of one engine to the daemon.
type wire struct {
	*libcontainerdtest.Tap
	inc *incarnation
}

func newWire(i *incarnation) *wire {
	x := &wire{inc: i, Tap: &libcontainerdtest.Tap{Daemon: i.w.daemon}}
	x.Before = func(ctx context.Context, c libcontainerdtest.Call) error { return x.message(ctx, "request ", c) }
	x.After = func(ctx context.Context, c libcontainerdtest.Call, err error) error {
		if lost := x.message(ctx, "answer ", c); lost != nil {
			return lost
		}
		return err
	}
	return x
}

// message is one on its way: it takes its time, and may not arrive.
func (x *wire) message(ctx context.Context, way string, c libcontainerdtest.Call) error {
	w := x.inc.w
	if x.inc.isDead() {
		return x.inc.freeze()
	}
	name := way + c.Op + " " + short(c.ContainerID) + " " + short(c.ProcessID)
	connection, _ := w.connection()
	d, arrived := w.travel(ctx, "message", name, (*dice).latency)
	switch {
	case x.inc.isDead():
		return x.inc.freeze()
	case !arrived:
		return fmt.Errorf("%s: %w", name, context.Cause(ctx))
	case x.cut(d), x.lost(connection):
		return errCut
	case way == "request " && c.Op != "Wait" && w.fault("call refused", d.chance(refuseOften)):
		return fmt.Errorf("%s: %w", name, errdefs.ErrInternal)
	}
	return nil
}

// cut may cut the connection, and leave it so for a while.
func (x *wire) cut(d *dice) bool {
	w := x.inc.w
	switch {
	case w.fault("connection cut", d.chance(cutOften)):
		w.cut(0)
	case w.fault("connection cut for a while", d.chance(cutOften)):
		w.cut(d.between(time.Millisecond, 45*time.Second))
	default:
		return false
	}
	return true
}

// lost tells whether a message that began on a connection finds it gone.
func (x *wire) lost(connection uint64) bool {
	now, up := x.inc.w.connection()
	return now != connection || !up
}

// Containers is tapped too.
func (x *wire) Containers(ctx context.Context, fn func(string) error) error {
	if err := x.message(ctx, "request ", libcontainerdtest.Call{Op: "Containers"}); err != nil {
		return err
	}
	return x.Tap.Containers(ctx, fn)
}

// Subscribe gives a subscription that is cut like any message.
func (x *wire) Subscribe(ctx context.Context) (libcontainerd.Subscription, error) {
	s, err := x.Tap.Subscribe(ctx)
	if err != nil {
		return nil, err
	}
	return subscription{s, x}, nil
}

type subscription struct {
	libcontainerd.Subscription
	wire *wire
}

func (s subscription) Next(ctx context.Context) (libcontainerd.DaemonEvent, error) {
	e, err := s.Subscription.Next(ctx)
	if s.wire.inc.isDead() {
		return e, s.wire.inc.freeze()
	}
	if err == nil && s.wire.cut(s.wire.inc.w.dice("next")) {
		return e, errCut
	}
	return e, err
}

// short is an id as the trace shows it.
func short(id string) string { return id[:min(len(id), 8)] }
