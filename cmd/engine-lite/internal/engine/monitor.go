package engine

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/inspect"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// monitor probes one run of a container, from its start to its end.
type monitor struct {
	engine     *Engine
	object     *task
	generation uint64
	check      *record.HealthCheck
	// due is when the next probe begins: by the monotonic clock, unlike the
	// record's, which is for the next engine.
	due time.Time
	// process is made for the first probe.
	process *specs.Process
}

// watchHealth has a running container probed at its intervals, unless it has no
// health check or this run is probed already. It ends with the run, or with the
// engine.
func (e *Engine) watchHealth(o *task) {
	r := o.Record()
	c := r.HealthCheck()
	if c == nil || r.Health == nil || !r.Running() || !o.beginWatch(r.Generation) {
		return
	}
	wait := min(time.Until(r.Health.Due), c.Delay(r.Health.Status, time.Since(r.StartedAt))) // the clock may have been set back
	m := &monitor{engine: e, object: o, generation: r.Generation, check: c, due: time.Now().Add(wait)}
	e.background.Go(func() { m.run(e.background.Context()) })
}

// beginWatch makes sure that a run has one monitor.
func (o *task) beginWatch(generation uint64) bool {
	o.LockState()
	defer o.UnlockState()
	if o.watched >= generation {
		return false
	}
	o.watched = generation
	return true
}

func (m *monitor) run(ctx context.Context) {
	for m.await(ctx) {
		m.probe(ctx)
		r := m.object.Record()
		m.due = time.Now().Add(m.check.Delay(record.HealthStatus(inspect.HealthSummary(r).Status), time.Since(r.StartedAt)))
	}
}

// over tells that the run has ended.
func (m *monitor) over(v containers.View) bool {
	return v.Gone || !v.Record.Running() || v.Record.Generation != m.generation
}

// await waits until a probe is due; it is false when the run, or ctx, has ended.
// A paused container isn't probed, and has an interval's time after that.
func (m *monitor) await(ctx context.Context) bool {
	paused := false
	for {
		v := m.object.View()
		if m.over(v) || ctx.Err() != nil {
			return false
		}
		var due <-chan time.Time
		if v.Record.Status == record.StatusPaused {
			paused = true
		} else {
			if paused {
				paused, m.due = false, time.Now().Add(m.check.Interval)
			}
			left := time.Until(m.due)
			if left <= 0 {
				return true
			}
			due = time.After(left)
		}
		select {
		case <-v.Changed:
		case <-due:
		case <-ctx.Done():
		}
	}
}

// probe runs the command once and takes in what it says.
func (m *monitor) probe(ctx context.Context) {
	p, err := newProbe(m.check.Timeout)
	if err != nil {
		log.WithError(err).WithField("container", m.object.ID).Warn("the container's health is not probed")
		return
	}
	exit, err := m.execute(ctx, p)
	v, ok := p.verdict(exit, err)
	if !ok || m.killedWithContainer(ctx, v) {
		log.WithError(err).WithField("container", m.object.ID).Debug("a probe of the container's health says nothing")
		return
	}
	err = m.engine.recordProbe(ctx, m, v, p.id)
	if err != nil && !errors.Is(err, containers.ErrUnchanged) && !errdefs.IsNotFound(err) && ctx.Err() == nil {
		log.WithError(err).WithField("container", m.object.ID).Error("the result of a probe of the container's health is lost")
	}
}

func (m *monitor) execute(ctx context.Context, p *probe) (libcontainerd.Exit, error) {
	ctr, err := m.object.Live()
	if err != nil {
		return libcontainerd.Exit{}, err
	}
	if m.process == nil {
		m.process, err = m.engine.execProcess(m.object.Record(), record.ExecRequest{Cmd: m.check.Command}, nil)
		if err != nil {
			return libcontainerd.Exit{}, err
		}
	}
	m.object.setProbe(p)
	defer m.object.setProbe(nil)
	return p.run(ctx, ctr, m.process)
}

// killedWithContainer tells whether a probe was killed, or didn't start, since its
// container has ended: one learns of that a moment later.
func (m *monitor) killedWithContainer(ctx context.Context, v verdict) bool {
	if v.result.ExitCode != 128+int(syscall.SIGKILL) && (v.started || v.result.ExitCode == 0) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, killedProbeWait)
	defer cancel()
	return m.object.Await(ctx, m.over) == nil
}

const killedProbeWait = time.Second

// recordProbe commits what a probe has shown, in one transaction: the container's
// health, the events of the probe's exec, and that of another status, if it is.
// Nothing of it was committed before, so an engine that dies in a probe leaves no half
// of it.
func (e *Engine) recordProbe(ctx context.Context, m *monitor, v verdict, id string) error {
	var changes []containers.Change
	_, _, err := m.object.Commit(ctx, containers.Change{
		Mutate: func(r *record.Record) error {
			if !r.Running() || r.Generation != m.generation || r.Health == nil {
				return containers.ErrUnchanged
			}
			changes = nil
			if !e.opts.QuietProbes {
				changes = v.changes(id, m.check.Command)
			}
			if r.Judge(m.check, v.result) {
				changes = append(changes, containers.Change{Action: "health_status: " + string(r.Health.Status)})
			}
			return nil
		},
		Also: func(tx *store.Tx, r *record.Record) error {
			for _, c := range changes {
				tx.Append(containers.Event(r, c))
			}
			return nil
		},
	})
	return err
}

func (o *task) setProbe(p *probe) {
	o.LockState()
	defer o.UnlockState()
	o.probe = p
}

// probeOf returns the probe that is under way, where it is the process with this
// id; any where the id is empty. It is nil where there is none.
func (o *task) probeOf(processID string) *probe {
	o.LockState()
	defer o.UnlockState()
	if o.probe == nil || (processID != "" && processID != probePrefix+o.probe.id) {
		return nil
	}
	return o.probe
}

// sweepProbe removes a probe that an earlier engine left in a container that runs.
// One that is frozen ends when its container goes on, or with it. The goroutine
// ends with the probe, or with the engine; the next one finds it again.
func (e *Engine) sweepProbe(o *task, process string) {
	if o.probeOf(process) != nil {
		return // this engine's own
	}
	e.background.Go(func() {
		err := e.endProbe(e.background.Context(), o.ID, process)
		if err == nil {
			err = e.stdio.Discard(e.background.Context(), o.ID, process)
		}
		if err != nil && !e.background.Ended() {
			log.WithError(err).WithField("container", o.ID).Warn("what an earlier engine's probe left goes with its container")
		}
	})
}

// endProbe kills a probe at the runtime daemon, if it still lives, and deletes it.
func (e *Engine) endProbe(ctx context.Context, id, process string) error {
	_, err := e.daemon.Delete(ctx, id, process)
	if !errdefs.IsFailedPrecondition(err) {
		return containers.IgnoreGone(err)
	}
	if err := containers.IgnoreGone(e.daemon.Kill(ctx, id, process, syscall.SIGKILL, false)); err != nil {
		return err
	}
	if _, err := e.daemon.Wait(ctx, id, process); containers.IgnoreGone(err) != nil {
		return err
	}
	_, err = e.daemon.Delete(ctx, id, process)
	return containers.IgnoreGone(err)
}
