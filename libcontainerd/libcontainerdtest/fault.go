package libcontainerdtest

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
)

// Fault is what goes wrong in one call of a Daemon in memory.
type Fault struct {
	// Err is the error that the call returns. Unless Late is set, the call does nothing else.
	Err error
	// Late has the call do its work before it returns Err.
	Late bool
	// Hang has the call wait until its context ends, or until Release or SetDown.
	Hang bool
}

// point is one call of an operation: the nth since the daemon was made.
type point struct {
	op  string
	nth int
}

// Fail injects a fault into the nth call from now of an operation; 1 is the next call. op is the name of the
// method, such as "CreateTask".
func (d *Daemon) Fail(op string, nth int, f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults[point{op, d.calls[op] + nth}] = f
}

// Calls returns how often a method was called so far. op is its name.
func (d *Daemon) Calls(op string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls[op]
}

// Release lets the calls that hang go on, and removes the faults with Hang that have not happened yet.
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

// SetDown makes the daemon unreachable, or reachable again. While it is unreachable, calls fail with Unavailable.
// Calls of Wait that are in progress and subscriptions end with the same error. Processes run on.
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

// enter counts a call and applies its fault. The call returns err at once if it isn't nil, and else late after its
// work.
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
