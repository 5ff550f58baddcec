package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
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
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// maxProbeOutput is how many bytes of a probe's output are kept.
const maxProbeOutput = 4096

// probeStartTimeout bounds the start of a probe, which its own timeout leaves out.
const probeStartTimeout = 30 * time.Second

// probePrefix begins the ids of the processes of probes, and of no others: so an
// engine knows one that another has left. After the prefix comes the exec's id.
const probePrefix = "probe-"

func isProbe(processID string) bool { return strings.HasPrefix(processID, probePrefix) }

var (
	errProbeTimeout = errors.New("the probe takes too long")
	errProbeStart   = errors.New("the probe doesn't start")
)

// probe is one run of a health check's command. It is an exec without what serves
// a user's: no client, no log, no record, and the keeper doesn't hold its output.
// It goes with the engine.
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

func newProbe(timeout time.Duration) (*probe, error) {
	id := make([]byte, 32)
	if _, err := rand.Read(id); err != nil {
		return nil, fmt.Errorf("probe id: %w", err)
	}
	return &probe{id: hex.EncodeToString(id), timeout: timeout, begun: time.Now()}, nil
}

// run runs the command to its end, which ctx or a timeout brings about if it
// doesn't come by itself. The error is what RunExec says.
func (p *probe) run(ctx context.Context, ctr *libcontainerd.Container, process *specs.Process) (libcontainerd.Exit, error) {
	ctx, p.cancel = context.WithCancelCause(ctx)
	defer p.cancel(nil)
	p.mu.Lock()
	p.clock = time.AfterFunc(probeStartTimeout, p.overdue)
	p.mu.Unlock()
	exit, err := ctr.RunExec(ctx, probePrefix+p.id, process, libcontainerd.StdioConfig{})
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
		p.cancel(errProbeTimeout)
	} else {
		p.cancel(errProbeStart)
	}
}

// start begins the time that the command has, once it runs.
func (p *probe) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started = true
	p.setClock()
}

// freeze lets the time stand still while the container is paused, and begins it
// anew after that.
func (p *probe) freeze(frozen bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
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

func (o *task) freezeProbe(frozen bool) {
	if p := o.probeOf(""); p != nil {
		p.freeze(frozen)
	}
}

// attach reads what the command writes: all of it, so that it never waits.
func (p *probe) attach(s libcontainerd.Streams) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streams = s
	for _, o := range []libcontainerd.Output{s.Stdout(), s.Stderr()} {
		p.readers.Go(func() { p.read(o) })
	}
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
	n := min(len(b), maxProbeOutput-len(p.output))
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

// verdict is what a probe says of its container.
type verdict struct {
	result record.ProbeResult
	// started tells that the command ran.
	started bool
	exit    libcontainerd.Exit
}

// verdict tells what the end of a probe means; nothing where what went wrong
// is not the container's.
func (p *probe) verdict(exit libcontainerd.Exit, err error) (verdict, bool) {
	v := verdict{exit: exit, result: record.ProbeResult{Start: p.begun.UTC(), End: time.Now().UTC(), ExitCode: -1}}
	p.mu.Lock()
	v.started = p.started
	p.mu.Unlock()
	switch {
	case errors.Is(err, errProbeTimeout):
		v.result.Output = fmt.Sprintf("Health check exceeded timeout (%s)", p.timeout)
		if out := p.text(); out != "" {
			v.result.Output += ": " + out
		}
	case errors.Is(err, errProbeStart):
		v.result.Output = "timed out starting health check"
	case err != nil && !ofTheContainer(err), exit.Unknown != "":
		return verdict{}, false
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
func (v verdict) changes(id string, command []string) []containers.Change {
	words := strings.Join(command, " ")
	list := []containers.Change{{Action: "exec_create: " + words, Attributes: execAttributes(id, nil)}}
	if v.started {
		code := map[string]string{"exitCode": strconv.Itoa(shownCode(v.exit))}
		list = append(list, containers.Change{Action: "exec_start: " + words, Attributes: execAttributes(id, nil)},
			containers.Change{Action: "exec_die", Attributes: execAttributes(id, code)})
	}
	return list
}
