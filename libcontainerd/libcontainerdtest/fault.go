package libcontainerdtest

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
)

// Fault is what happens instead of, or after, a call of the fake daemon.
type Fault struct {
	// Err is returned.
	Err error
	// Late lets the call do its work before Err is returned.
	Late bool
	// Hang makes the call wait for the end of its context, or for Release.
	Hang bool
}

// point is one call of an operation: the nth from now.
type point struct {
	op  string
	nth int
}

// Fail plans a fault for the nth call from now (1 is the next) of an
// operation, by the name of the method, such as "CreateTask".
func (d *Daemon) Fail(op string, nth int, f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults[point{op, d.calls[op] + nth}] = f
}

// Calls counts the calls of an operation.
func (d *Daemon) Calls(op string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls[op]
}

// Release ends all hangs that are and that are planned.
func (d *Daemon) Release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.released)
	d.released = make(chan struct{})
	for at, f := range d.faults {
		if f.Hang {
			delete(d.faults, at)
		}
	}
}

// SetDown makes the daemon unreachable, or reachable again: calls fail as
// Unavailable, Waits in flight and subscriptions end so. Processes live on.
func (d *Daemon) SetDown(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down == down {
		return
	}
	d.down = down
	if down {
		close(d.lost)
		d.cutLocked(errdefs.ErrUnavailable)
		return
	}
	d.lost = make(chan struct{})
}

// enter counts a call and applies its fault: err instead of the call, late
// after it.
func (d *Daemon) enter(ctx context.Context, op string) (late, err error) {
	d.mu.Lock()
	d.calls[op]++
	at := point{op, d.calls[op]}
	f := d.faults[at]
	delete(d.faults, at)
	down, released, lost := d.down, d.released, d.lost
	d.mu.Unlock()
	if down {
		return nil, fmt.Errorf("%s: the daemon is down: %w", op, errdefs.ErrUnavailable)
	}
	if f.Hang {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-lost:
			return nil, fmt.Errorf("%s: the daemon went down: %w", op, errdefs.ErrUnavailable)
		case <-released:
		}
	}
	if f.Late {
		return f.Err, nil
	}
	if f.Err != nil {
		return nil, fmt.Errorf("%s: %w", op, f.Err)
	}
	return nil, ctx.Err()
}
