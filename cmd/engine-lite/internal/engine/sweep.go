package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/health"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/orphans"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/retry"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// leftovers are what an earlier engine may have left of containers: at the
// runtime daemon, by container, and of streams, by container and process.
type leftovers struct {
	daemon map[string]bool
	tasks  []string // of which the runtime daemon has no container
	held   map[string]map[string]bool
}

func (e *Engine) findLeftovers(ctx context.Context) (*leftovers, error) {
	left := &leftovers{held: map[string]map[string]bool{}}
	var err error
	if left.daemon, left.tasks, err = orphans.List(ctx, e.daemon); err != nil {
		return nil, err
	}
	held, err := e.stdio.Keeper.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list what the keeper holds: %w", err)
	}
	for _, h := range held {
		if parts := strings.Split(h.Key, "/"); len(parts) == 3 && parts[0] == Namespace {
			left.hold(parts[1], parts[2])
		}
	}
	// Streams that no keeper holds: killed before it did, or with it.
	lister, ok := e.stdio.Inner.(interface {
		Leftovers() (map[string][]string, error)
	})
	if !ok {
		return left, nil
	}
	streams, err := lister.Leftovers()
	if err != nil {
		return nil, err
	}
	for id, processes := range streams {
		for _, process := range processes {
			left.hold(id, process)
		}
	}
	return left, nil
}

func (l *leftovers) hold(container, process string) {
	if l.held[container] == nil {
		l.held[container] = map[string]bool{}
	}
	l.held[container][process] = true
}

// sweep finishes what earlier engines died in: runs whose start or end they
// didn't see through, removals, creations, execs that nobody knows any more. A
// container that can't be swept stays as it is for the next engine.
func (e *Engine) sweep(ctx context.Context, idle []*task) error {
	left, err := e.findLeftovers(ctx)
	if err != nil {
		return err
	}
	var asking []func(context.Context) // what the runtime daemon may hang over
	held := maps.Clone(left.held)
	for _, o := range idle {
		delete(held, o.ID)
		if r := o.Record(); r.Unreadable() != nil && r.Status != record.StatusRemoving {
			continue // what is left of the container belongs to a record that nobody can read
		}
		if !left.daemon[o.ID] {
			reportSweep(o.ID, e.sweepIdle(ctx, o, left))
			continue
		}
		if err := o.Lock(ctx); err != nil {
			return err
		}
		o.swept = make(chan struct{}) // nobody else has seen the task yet
		die := o.Record().DieSeq
		if e.copiesOutput() { // the die came after the output, and waits for nothing: see Exited
			die = 0 // the number of no event
		}
		e.store.Hold(die)
		asking = append(asking, func(ctx context.Context) {
			defer o.Unlock()
			defer e.store.Release(die)
			defer close(o.swept)
			reportSweep(o.ID, e.sweepIdle(ctx, o, left))
		})
	}
	for _, id := range slices.Sorted(maps.Keys(held)) {
		asking = append(asking, func(ctx context.Context) { reportSweep(id, e.sweepHeld(ctx, id, held[id])) })
	}
	for _, id := range left.tasks {
		if _, err := e.find(id); errdefs.IsNotFound(err) { // else the next start deletes the task
			asking = append(asking, func(ctx context.Context) { reportSweep(id, orphans.Delete(ctx, e.daemon, id)) })
		}
	}
	for _, o := range e.all() {
		execs, err := e.LeftoverExecs(o.ID)
		reportSweep(o.ID, err)
		if len(execs) > 0 {
			asking = append(asking, func(ctx context.Context) { reportSweep(o.ID, e.SweepExecs(ctx, o.ID, execs)) })
		}
	}
	e.sweepBehind(ctx, asking)
	return nil
}

func reportSweep(id string, err error) {
	if err != nil {
		log.WithError(err).WithField("container", id).Error("cannot clean up after an earlier engine")
	}
}

const (
	// sweepPatience bounds how long sweeping keeps the engine from serving, and
	// sweepTimeout how long it goes on beside that. Who wants the container waits.
	sweepPatience = 2 * time.Second
	sweepTimeout  = 2 * time.Minute
	sweepAtOnce   = 16
)

// sweepBehind returns when all is swept, or goes on when the engine serves.
func (e *Engine) sweepBehind(ctx context.Context, sweeps []func(context.Context)) {
	done := make(chan struct{})
	e.background.Go(func() { // ends with the engine, or after sweepTimeout
		defer close(done)
		ctx, cancel := context.WithTimeout(e.background.Context(), sweepTimeout)
		defer cancel()
		var all errgroup.Group
		all.SetLimit(sweepAtOnce)
		for _, sweep := range sweeps {
			all.Go(func() error { sweep(ctx); return nil })
		}
		_ = all.Wait() // each has reported
	})
	select {
	case <-done:
	case <-ctx.Done():
	case <-time.After(sweepPatience):
		log.Warn("the runtime daemon hangs over what an earlier engine left; going on")
	}
}

// sweepIdle brings a container that doesn't run to where its record says that
// it is.
func (e *Engine) sweepIdle(ctx context.Context, o *task, left *leftovers) error {
	r := o.Record()
	if r.Status == record.StatusRemoving {
		return e.sweepRemoval(ctx, o, left)
	}
	// The streams are opened first: the deletion takes their names away, and
	// the keeper may not have moved all that is in them.
	rest, err := e.openLeftover(ctx, o, left.held[o.ID][libcontainerd.InitProcess])
	if err != nil {
		return err
	}
	if err := e.sweepDaemon(ctx, o, left); err != nil {
		return errors.Join(err, rest.leave(o))
	}
	reportSweep(o.ID, e.unshare(o.ID)) // tried again when the container is started or removed
	if err := e.drainLeftover(ctx, o, rest); err != nil {
		return err
	}
	if r.Stop != nil { // the container has ended, and the event of the stop is missing
		if err := e.stopped(ctx, o); err != nil {
			return err
		}
	}
	if r.Status == record.StatusExited && r.HostConfig.AutoRemove && r.RestartAt.IsZero() {
		return e.insist(o, e.removeLocked(ctx, o, true))
	}
	e.awaitRestart(o)
	return nil
}

// sweepRemoval goes on with a removal.
func (e *Engine) sweepRemoval(ctx context.Context, o *task, left *leftovers) error {
	if err := e.sweepDaemon(ctx, o, left); err != nil {
		return err
	}
	if err := e.sweepStreams(ctx, o, left, libcontainerd.InitProcess); err != nil {
		return err
	}
	if o.Record().Version == 0 { // its creation has no event
		return e.forget(ctx, o)
	}
	return e.insist(o, e.finishRemoval(ctx, o, "destroy"))
}

// insist has a removal that failed tried again where no user asked for it, who
// could.
func (e *Engine) insist(o *task, err error) error {
	if err != nil && o.Record().HostConfig.AutoRemove {
		e.background.Go(func() { e.autoRemove(o) })
	}
	return err
}

// sweepDaemon frees what an earlier engine left of a container that doesn't run
// at the runtime daemon, and the streams of its execs.
func (e *Engine) sweepDaemon(ctx context.Context, o *task, left *leftovers) error {
	if left.daemon[o.ID] {
		if err := e.deleteRemains(ctx, o.Record()); err != nil {
			return err
		}
	}
	for _, process := range slices.Sorted(maps.Keys(left.held[o.ID])) {
		if process != libcontainerd.InitProcess {
			if err := e.sweepStreams(ctx, o, left, process); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *Engine) sweepStreams(ctx context.Context, o *task, left *leftovers, process string) error {
	if !left.held[o.ID][process] {
		return nil
	}
	return e.stdio.Discard(ctx, o.ID, process)
}

// deleteRemains deletes the task and record that the runtime daemon has of a
// container that doesn't run: the start has no event, or the exit has one and the
// clean-up was not done. A daemon that is away just now is waited for.
func (e *Engine) deleteRemains(ctx context.Context, r *record.Record) error {
	ctr, err := e.client.Restore(ctx, r.ID, libcontainerd.RestoreOptions{Generation: r.Generation})
	if err != nil {
		return err
	}
	for {
		err := ctr.Delete(ctx, libcontainerd.DeleteOptions{Force: true})
		if !errdefs.IsUnavailable(err) || retry.Sleep(ctx, sweepRetry) != nil {
			return err
		}
	}
}

// sweepRetry is the pause between two tries to reach the runtime daemon.
const sweepRetry = 200 * time.Millisecond

// sweepHeld lets go of the streams of processes that have ended: those of
// containers that are gone, and execs. Streams of living processes stay.
func (e *Engine) sweepHeld(ctx context.Context, id string, processes map[string]bool) error {
	var errs []error
	_, err := e.find(id)
	for _, process := range slices.Sorted(maps.Keys(processes)) {
		if err == nil && health.IsProbe(process) {
			e.health.Sweep(id, process)
			continue
		}
		if err == nil && (e.processes.Has(id, process) || e.ExecLives(ctx, id, process)) {
			continue
		}
		errs = append(errs, e.stdio.Discard(ctx, id, process))
	}
	return errors.Join(errs...)
}

// sweepExecs removes what is left of execs that this engine does not know and that have ended.
func (e *Engine) sweepExecs(ctx context.Context, o *task) error {
	execs, err := e.LeftoverExecs(o.ID)
	return errors.Join(err, e.SweepExecs(ctx, o.ID, execs))
}
