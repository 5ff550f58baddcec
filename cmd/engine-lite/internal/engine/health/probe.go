// Package health probes the health of containers by their own commands, and keeps what the probes show in the records.
package health

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/exec"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/process"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// maxOutput is how many bytes of a probe's output are kept.
const maxOutput = 4096

// startTimeout bounds the start of a probe, which the probe's own timeout leaves out.
const startTimeout = 30 * time.Second

// prefix begins the ids of the processes of probes, and of no others: so an engine knows a probe that an earlier engine
// left. After the prefix comes the exec's id.
const prefix = "probe-"

// IsProbe tells whether the id of a process is that of a probe.
func IsProbe(processID string) bool { return strings.HasPrefix(processID, prefix) }

var (
	errTimeout = errors.New("the probe takes too long")
	errStart   = errors.New("the probe doesn't start")
)

// probe is one run of a health check's command. A probe is an exec without what serves a user's: no client, no log, no
// record, and the keeper does not hold its output. It ends with the engine.
type probe struct {
	id      string // the exec's, for events
	timeout time.Duration
	begun   time.Time
	cancel  context.CancelCauseFunc
	readers sync.WaitGroup

	mu        sync.Mutex
	clock     *time.Timer // ends the probe
	started   bool
	frozen    bool
	streams   libcontainerd.Streams
	output    []byte
	truncated bool
}

var _ process.Process = (*probe)(nil)

func newProbe(timeout time.Duration) (*probe, error) {
	id, err := exec.NewID()
	if err != nil {
		return nil, err
	}
	return &probe{id: id, timeout: timeout, begun: time.Now()}, nil
}

// run runs the command to its end, which ctx or a timeout brings about if it
// doesn't come by itself. The error is what RunExec says.
func (p *probe) run(ctx context.Context, ctr *libcontainerd.Container, process *specs.Process) (libcontainerd.Exit, error) {
	ctx, p.cancel = context.WithCancelCause(ctx)
	defer p.cancel(nil)
	p.mu.Lock()
	p.clock = time.AfterFunc(startTimeout, p.overdue)
	p.mu.Unlock()
	exit, err := ctr.RunExec(ctx, prefix+p.id, process, libcontainerd.StdioConfig{})
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	p.mu.Lock()
	p.clock.Stop()
	streams := p.streams
	p.mu.Unlock()
	if failed := stdio.CloseOutputs(streams); failed != nil {
		log.WithError(failed).WithField("exec", p.id).Warn("cannot close the output of a probe")
	}
	p.readers.Wait()
	return exit, err
}

// overdue ends the probe, for the reason that its state gives.
func (p *probe) overdue() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started {
		p.cancel(errTimeout)
	} else {
		p.cancel(errStart)
	}
}

// Started begins the time that the command has.
func (p *probe) Started(context.Context, libcontainerd.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started = true
	p.setClock()
	return nil
}

// Exited has nothing to commit: run returns the exit, and the monitor commits what the exit means.
func (p *probe) Exited(context.Context, libcontainerd.Event) error { return nil }

// Drained waits until the output was read. The output ends with the command, or when the engine goes down and closes
// it.
func (p *probe) Drained(context.Context) error {
	p.readers.Wait()
	return nil
}

// Held is nil: nobody wants a probe's output after the engine's end.
func (p *probe) Held() (*stdio.IO, error) { return nil, nil }

// freeze lets the command's time stand still while the container is paused. The time begins anew after that.
func (p *probe) freeze(frozen bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen == frozen {
		return
	}
	p.frozen = frozen
	p.setClock()
}

func (p *probe) setClock() {
	switch {
	case !p.started:
	case p.frozen:
		p.clock.Stop()
	default:
		p.clock.Reset(p.timeout)
	}
}

// Attach reads what the command writes: all of it, so that the command never waits.
func (p *probe) Attach(s libcontainerd.Streams) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streams = s
	for _, o := range []libcontainerd.Output{s.Stdout(), s.Stderr()} {
		p.readers.Go(func() { p.read(o) })
	}
	return nil
}

// read ends with the output, which ends with the command, or when it is closed.
func (p *probe) read(o libcontainerd.Output) {
	buf := make([]byte, 512)
	for {
		n, err := o.Read(buf)
		p.keep(buf[:n])
		if err != nil {
			return
		}
	}
}

func (p *probe) keep(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(b), maxOutput-len(p.output))
	p.output = append(p.output, b[:n]...)
	p.truncated = p.truncated || n < len(b)
}

// text is the output as Docker shows it.
func (p *probe) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.truncated {
		return string(p.output) + "..."
	}
	return string(p.output)
}

// finding is what a probe says of its container.
type finding struct {
	result record.ProbeResult
	// started tells that the command ran.
	started bool
	exit    libcontainerd.Exit
}

// finding returns what the end of a probe means; false where the container is not the reason of what went wrong.
func (p *probe) finding(exit libcontainerd.Exit, err error) (finding, bool) {
	v := finding{exit: exit, result: record.ProbeResult{Start: p.begun.UTC(), End: time.Now().UTC(), ExitCode: -1}}
	p.mu.Lock()
	v.started = p.started
	p.mu.Unlock()
	switch {
	case errors.Is(err, errTimeout):
		v.result.Output = fmt.Sprintf("Health check exceeded timeout (%s)", p.timeout)
		if out := p.text(); out != "" {
			v.result.Output += ": " + out
		}
	case errors.Is(err, errStart):
		v.result.Output = "timed out starting health check"
	case err != nil && !ofTheContainer(err), exit.Unknown != "":
		return finding{}, false
	case err != nil:
		v.result.Output = err.Error()
	default:
		v.result.ExitCode, v.result.Output = exit.Code, p.text()
	}
	return v, true
}

// ofTheContainer tells whether a probe failed for what its container is, and not
// since the container or the engine ends, or the runtime daemon is away.
func ofTheContainer(err error) bool {
	if code := libcontainerd.StartExitCode(err); code != libcontainerd.ExitNotStarted {
		return true // there is no such command
	}
	return !errdefs.IsUnavailable(err) && !errdefs.IsCanceled(err) && !errdefs.IsDeadlineExceeded(err) &&
		!errdefs.IsFailedPrecondition(err) && !errdefs.IsConflict(err) && !errdefs.IsNotFound(err)
}

// changes are the events of the probe's exec, as Docker has them.
func (v finding) changes(id string, command []string) []containers.Change {
	words := strings.Join(command, " ")
	list := []containers.Change{{Action: "exec_create: " + words, Attributes: exec.Attributes(id, nil)}}
	if v.started {
		code := map[string]string{"exitCode": strconv.Itoa(process.ShownExitCode(v.exit))}
		list = append(list, containers.Change{Action: "exec_start: " + words, Attributes: exec.Attributes(id, nil)},
			containers.Change{Action: "exec_die", Attributes: exec.Attributes(id, code)})
	}
	return list
}
