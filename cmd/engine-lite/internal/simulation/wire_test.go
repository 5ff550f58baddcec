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
	cutOften     = 1200 // each of: for a moment, for a while
	refuseOften  = 250
	streamsOften = 120
	writeOften   = 120
	crashOften   = 500 // each of before and after a write
)

// wire is the connection of one engine to the daemon.
type wire struct {
	*libcontainerdtest.Tap
	inc *engineInstance
}

func newWire(i *engineInstance) *wire {
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

// message sends a message. It takes some time and may not arrive.
func (x *wire) message(ctx context.Context, way string, c libcontainerdtest.Call) error {
	w := x.inc.w
	if x.inc.isKilled() {
		return x.inc.block()
	}
	name := way + c.Op + " " + short(c.ContainerID) + " " + short(c.ProcessID)
	connection, _ := w.connection()
	d, arrived := w.delay(ctx, "message", name, (*dice).latency)
	switch {
	case x.inc.isKilled():
		return x.inc.block()
	case !arrived:
		return fmt.Errorf("%s: %w", name, context.Cause(ctx))
	case x.cut(d), x.lost(connection):
		return errCut
	case way == "request " && c.Op != "Wait" && w.fault("call refused", d.chance(refuseOften)):
		return fmt.Errorf("%s: %w", name, errdefs.ErrInternal)
	}
	return nil
}

// cut may cut the connection, for a moment or for a while.
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

// lost is true if the connection of a message was cut while the message was under way.
func (x *wire) lost(connection uint64) bool {
	now, up := x.inc.w.connection()
	return now != connection || !up
}

// CopiesOutput is true for every third seed: the engine then works as on containerd.
func (x *wire) CopiesOutput() bool { return x.inc.w.plan.seed%3 == 2 }

// Containers is a request, too.
func (x *wire) Containers(ctx context.Context, fn func(string) error) error {
	if err := x.message(ctx, "request ", libcontainerdtest.Call{Op: "Containers"}); err != nil {
		return err
	}
	return x.Tap.Containers(ctx, fn)
}

// Subscribe returns a subscription. It may be cut at each event.
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
	if s.wire.inc.isKilled() {
		return e, s.wire.inc.block()
	}
	if err == nil && s.wire.cut(s.wire.inc.w.dice("next")) {
		return e, errCut
	}
	return e, err
}

// short is an id as the trace shows it.
func short(id string) string { return id[:min(len(id), 8)] }
