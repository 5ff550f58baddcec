package health

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/background"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/exec"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/inspect"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/process"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/heldstdio"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Config is what the probes need of the engine. None may be nil.
type Config struct {
	Daemon     libcontainerd.Daemon
	Processes  *process.Table
	Stdio      *heldstdio.Stdio
	Background *background.Group
	// Quiet leaves the exec events of probes out.
	Quiet bool
}

// Watcher probes the running containers of an engine. Its methods may be called from any goroutine.
type Watcher struct {
	c Config

	mu sync.Mutex
	// monitored are the runs that have a monitor: generations, by container.
	monitored map[string]uint64
}

// New returns a watcher of no containers.
func New(c Config) *Watcher { return &Watcher{c: c, monitored: map[string]uint64{}} }

// monitor probes one run of a container, from the start of the run to its end.
type monitor struct {
	watcher    *Watcher
	container  *containers.Container
	generation uint64
	check      *record.HealthCheck
	// due is when the next probe begins: by the monotonic clock, unlike the record's, which is for the next engine.
	due time.Time
	// process is made for the first probe.
	process *specs.Process
}

// Watch has a running container probed at its intervals, unless the container has no health check or this run is probed
// already. The goroutine ends with the run, or with the engine.
func (w *Watcher) Watch(o *containers.Container) {
	r := o.Record()
	c := r.HealthCheck()
	if c == nil || r.Health == nil || !r.Running() || !w.begin(o.ID, r.Generation) {
		return
	}
	wait := min(time.Until(r.Health.Due), c.Delay(r.Health.Status, time.Since(r.StartedAt))) // the clock may have been set back
	m := &monitor{watcher: w, container: o, generation: r.Generation, check: c, due: time.Now().Add(wait)}
	w.c.Background.Go(func() {
		m.run(w.c.Background.Context())
		w.end(o.ID, r.Generation)
	})
}

// begin makes sure that a run has one monitor.
func (w *Watcher) begin(container string, generation uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.monitored[container] >= generation {
		return false
	}
	w.monitored[container] = generation
	return true
}

func (w *Watcher) end(container string, generation uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.monitored[container] == generation {
		delete(w.monitored, container)
	}
}

func (m *monitor) run(ctx context.Context) {
	for m.await(ctx) {
		m.probe(ctx)
		r := m.container.Record()
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
		v := m.container.View()
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
		log.WithError(err).WithField("container", m.container.ID).Warn(
			"cannot begin a probe of the container's health; trying again at the next interval")
		return
	}
	exit, err := m.execute(ctx, p)
	v, ok := p.finding(exit, err)
	if !ok || m.killedWithContainer(ctx, v) {
		log.WithError(err).WithField("container", m.container.ID).Debug(
			"a probe of the container's health has no result")
		return
	}
	err = m.commit(ctx, v, p.id)
	if err != nil && !errors.Is(err, containers.ErrUnchanged) && !errdefs.IsNotFound(err) && ctx.Err() == nil {
		log.WithError(err).WithField("container", m.container.ID).Error(
			"cannot store the result of a probe of the container's health; the result is dropped")
	}
}

func (m *monitor) execute(ctx context.Context, p *probe) (libcontainerd.Exit, error) {
	ctr, err := m.container.Live()
	if err != nil {
		return libcontainerd.Exit{}, err
	}
	if m.process == nil {
		m.process, err = exec.Process(m.container.Record(), record.ExecRequest{Cmd: m.check.Command}, nil)
		if err != nil {
			return libcontainerd.Exit{}, err
		}
	}
	id := prefix + p.id
	m.watcher.c.Processes.Add(m.container.ID, id, p)
	defer m.watcher.c.Processes.Remove(m.container.ID, id)
	defer m.freezes(ctx, p)()
	return p.run(ctx, ctr, m.process)
}

// freezes has the time of a probe stand still while its container is paused, until the function that it returns is
// called.
func (m *monitor) freezes(ctx context.Context, p *probe) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		_ = m.container.Await(ctx, func(v containers.View) bool { // until ctx ends, or the container is gone
			p.freeze(v.Record.Status == record.StatusPaused)
			return false
		})
	})
	return func() {
		cancel()
		watching.Wait()
	}
}

// killedWithContainer tells whether a probe was killed, or didn't start, since its
// container has ended: one learns of that a moment later.
func (m *monitor) killedWithContainer(ctx context.Context, v finding) bool {
	if v.result.ExitCode != 128+int(syscall.SIGKILL) && (v.started || v.result.ExitCode == 0) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, killedProbeWait)
	defer cancel()
	return m.container.Await(ctx, m.over) == nil
}

const killedProbeWait = time.Second

// commit commits what a probe has shown, in one transaction: the container's health, the events of the probe's exec,
// and that of another status, if there is one. Nothing was committed before, so an engine that dies in a probe leaves
// no half of a probe.
func (m *monitor) commit(ctx context.Context, v finding, id string) error {
	var changes []containers.Change
	_, _, err := m.container.Commit(ctx, containers.Change{
		Mutate: func(r *record.Record) error {
			if !r.Running() || r.Generation != m.generation || r.Health == nil {
				return containers.ErrUnchanged
			}
			changes = nil
			if !m.watcher.c.Quiet {
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

// Sweep removes a probe that an earlier engine left in a container that runs. A frozen probe ends when its container
// goes on, or with the container. The goroutine ends with the probe, or with the engine; the next engine finds the
// probe again.
func (w *Watcher) Sweep(container, processID string) {
	if w.c.Processes.Has(container, processID) {
		return // this engine's own
	}
	w.c.Background.Go(func() {
		ctx := w.c.Background.Context()
		err := w.kill(ctx, container, processID)
		if err == nil {
			err = w.c.Stdio.Discard(ctx, container, processID)
		}
		if err != nil && !w.c.Background.Ended() {
			log.WithError(err).WithField("container", container).Warn(
				"cannot remove the probe that an earlier engine left; it is removed together with the container")
		}
	})
}

// kill kills a probe at the runtime daemon, if the probe still lives, and deletes it.
func (w *Watcher) kill(ctx context.Context, container, processID string) error {
	d := w.c.Daemon
	_, err := d.Delete(ctx, container, processID)
	if !errdefs.IsFailedPrecondition(err) {
		return containers.IgnoreGone(err)
	}
	if err := containers.IgnoreGone(d.Kill(ctx, container, processID, syscall.SIGKILL, false)); err != nil {
		return err
	}
	if _, err := d.Wait(ctx, container, processID); containers.IgnoreGone(err) != nil {
		return err
	}
	_, err = d.Delete(ctx, container, processID)
	return containers.IgnoreGone(err)
}
