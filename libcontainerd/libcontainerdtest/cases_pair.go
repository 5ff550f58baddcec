package libcontainerdtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

var pairCases = []contractCase{
	{name: "race/two callers at once", run: pairsAtOnce},
}

// operation is what a caller may do to a container, and when.
type operation struct {
	name string
	from []libcontainerd.Status // the statuses that allow it
	to   libcontainerd.Status   // the status after it; StatusInvalid for no change
	ends bool                   // the container ends some time after it
	thaw bool                   // it resumes the container if that is paused
	// gone says that NotFound is right too: the container may be gone meanwhile.
	gone bool
	run  func(e *env, ctr *libcontainerd.Container, caller int) error
}

var (
	startable = []libcontainerd.Status{libcontainerd.StatusCreated, libcontainerd.StatusStopped}
	running   = []libcontainerd.Status{libcontainerd.StatusRunning}
	paused    = []libcontainerd.Status{libcontainerd.StatusPaused}
	alive     = slices.Concat(running, paused)
	anywhere  = slices.Concat(startable, alive)
	began     = append(slices.Clone(alive), libcontainerd.StatusStopped, libcontainerd.StatusDeleted)
)

// operations are all requests, and the changes of a container without a request.
func operations() []operation {
	return []operation{
		{name: "start", from: startable, to: libcontainerd.StatusRunning,
			run: func(e *env, ctr *libcontainerd.Container, _ int) error {
				_, err := ctr.Start(e.ctx, libcontainerd.StartOptions{Stdio: libcontainerd.StdioConfig{Stdin: true}})
				return err
			}},
		{name: "exec", from: running, gone: true, run: func(e *env, ctr *libcontainerd.Container, caller int) error {
			_, err := ctr.Exec(e.ctx, fmt.Sprintf("e%d", caller), e.Process("sleep 1000"),
				libcontainerd.StdioConfig{Stdin: true})
			return err
		}},
		{name: "exec the same", from: running, gone: true,
			run: func(e *env, ctr *libcontainerd.Container, _ int) error {
				_, err := ctr.Exec(e.ctx, "same", e.Process("exit 3"), libcontainerd.StdioConfig{})
				return err
			}},
		{name: "kill", from: alive, ends: true, thaw: true, gone: true,
			run: func(e *env, ctr *libcontainerd.Container, _ int) error {
				return ctr.Signal(e.ctx, initProcess, syscall.SIGKILL)
			}},
		{name: "kill all", from: alive, ends: true, thaw: true, gone: true,
			run: func(e *env, ctr *libcontainerd.Container, _ int) error {
				return ctr.KillAll(e.ctx, syscall.SIGKILL)
			}},
		{name: "kill exec", from: alive, gone: true, run: func(e *env, ctr *libcontainerd.Container, _ int) error {
			return ctr.Signal(e.ctx, "e9", syscall.SIGKILL)
		}},
		{name: "pause", from: running, to: libcontainerd.StatusPaused,
			run: func(e *env, ctr *libcontainerd.Container, _ int) error {
				return ctr.Pause(e.ctx)
			}},
		{name: "resume", from: paused, to: libcontainerd.StatusRunning,
			run: func(e *env, ctr *libcontainerd.Container, _ int) error {
				return ctr.Resume(e.ctx)
			}},
		{name: "close stdin", from: began, gone: true, run: func(_ *env, ctr *libcontainerd.Container, _ int) error {
			return ctr.CloseStdin(initProcess)
		}},
		{name: "update", from: alive, gone: true, run: func(e *env, ctr *libcontainerd.Container, _ int) error {
			shares := uint64(512)
			return ctr.Update(e.ctx, &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}})
		}},
		{name: "pids", from: alive, gone: true, run: func(e *env, ctr *libcontainerd.Container, _ int) error {
			_, err := ctr.Pids(e.ctx)
			return err
		}},
		{name: "stats", from: alive, gone: true, run: func(e *env, ctr *libcontainerd.Container, _ int) error {
			_, err := ctr.Stats(e.ctx)
			return err
		}},
		{name: "delete", from: startable, to: libcontainerd.StatusDeleted,
			run: func(e *env, ctr *libcontainerd.Container, _ int) error {
				return ctr.Delete(e.ctx, libcontainerd.DeleteOptions{})
			}},
		{name: "force delete", from: anywhere, to: libcontainerd.StatusDeleted,
			run: func(e *env, ctr *libcontainerd.Container, _ int) error {
				return ctr.Delete(e.ctx, libcontainerd.DeleteOptions{Force: true})
			}},
		{name: "wait", from: anywhere, gone: true, run: waitAWhile},
		{name: "end", from: anywhere, ends: true, gone: true,
			run: func(e *env, ctr *libcontainerd.Container, _ int) error {
				return e.Daemon.Kill(e.ctx, ctr.ID(), initProcess, syscall.SIGKILL, false)
			}},
		{name: "end of exec", from: anywhere, gone: true, run: func(e *env, ctr *libcontainerd.Container, _ int) error {
			return e.Daemon.Kill(e.ctx, ctr.ID(), "e9", syscall.SIGKILL, false)
		}},
	}
}

// waitAWhile waits for an exit, which the other caller may cause.
func waitAWhile(e *env, ctr *libcontainerd.Container, _ int) error {
	ctx, cancel := context.WithTimeout(e.ctx, 100*time.Millisecond)
	defer cancel()
	_, err := ctr.Wait(ctx, initProcess)
	if errdefs.IsDeadlineExceeded(err) {
		return nil
	}
	return err
}

// pair is two operations on a container of a status, at about the same time.
type pair struct {
	in      libcontainerd.Status
	callers [2]operation
	after   [2]time.Duration
}

func (p pair) String() string {
	return fmt.Sprintf("%s after %v and %s after %v while %v", p.callers[0].name, p.after[0], p.callers[1].name,
		p.after[1], p.in)
}

// try makes the container, starts both operations, and checks their errors and the final status.
func (p pair) try(e *env) error {
	ctr, err := p.prepare(e)
	if err != nil {
		return fmt.Errorf("preparing: %w", err)
	}
	var errs [2]error
	var callers sync.WaitGroup
	for i, op := range p.callers {
		callers.Go(func() {
			<-time.After(p.after[i])
			errs[i] = op.run(e, ctr, i)
		})
	}
	callers.Wait()
	if err := p.settle(e, ctr, errs); err != nil {
		return fmt.Errorf("%w; errors %v", err, errs)
	}
	return nil
}

// prepare makes a container of the status. If the container runs, it has an exec e9.
func (p pair) prepare(e *env) (*libcontainerd.Container, error) {
	ctr := e.create("cat; sleep 1000")
	if p.in == libcontainerd.StatusCreated {
		return ctr, nil
	}
	if _, err := ctr.Start(e.ctx,
		libcontainerd.StartOptions{Stdio: libcontainerd.StdioConfig{Stdin: true}}); err != nil {
		return nil, err
	}
	if p.in == libcontainerd.StatusStopped {
		err := ctr.KillAll(e.ctx, syscall.SIGKILL)
		_, waitErr := ctr.Wait(e.ctx, initProcess)
		return ctr, errors.Join(err, waitErr)
	}
	if _, err := ctr.Exec(e.ctx, "e9", e.Process("sleep 1000"), libcontainerd.StdioConfig{}); err != nil {
		return nil, err
	}
	if p.in == libcontainerd.StatusPaused {
		return ctr, ctr.Pause(e.ctx)
	}
	return ctr, nil
}

// settle waits for an exit that an operation caused, and compares the status.
func (p pair) settle(e *env, ctr *libcontainerd.Container, errs [2]error) error {
	for i, err := range errs {
		if err != nil && !classed(err) && !(errdefs.IsUnknown(err) && p.callers[1-i].deadly()) {
			return fmt.Errorf("caller %d: an error of no good class", i)
		}
	}
	finals := p.finals(errs)
	if len(finals) == 0 {
		return errors.New("no order of the callers explains the outcome")
	}
	runsOn := slices.Contains(finals, libcontainerd.StatusRunning)
	if !slices.ContainsFunc(finals, libcontainerd.Status.Alive) ||
		ctr.Status() == libcontainerd.StatusRunning && !runsOn {
		// An exit may still be on its way.
		if _, err := ctr.Wait(e.ctx, initProcess); err != nil && p.in != libcontainerd.StatusCreated &&
			!errdefs.IsNotFound(err) {
			return fmt.Errorf("waiting for the end: %w", err)
		}
	}
	if got := ctr.Status(); !slices.Contains(finals, got) {
		return fmt.Errorf("status %v, possible are %v", got, finals)
	}
	return nil
}

func classed(err error) bool {
	return errdefs.IsFailedPrecondition(err) || errdefs.IsNotFound(err) || errdefs.IsAlreadyExists(err)
}

// deadly says that the container may exit at once. An OCI runtime reports a missing process in its text only,
// without a class.
func (op operation) deadly() bool { return op.ends || op.name == "force delete" }

// outcome is a state that a container may have between two operations.
type outcome struct {
	status libcontainerd.Status
	dying  bool
}

// finals are the statuses that the container may have at last, if the operations that succeeded happened one after
// the other.
func (p pair) finals(errs [2]error) []libcontainerd.Status {
	var finals []libcontainerd.Status
	for _, order := range [][2]int{{0, 1}, {1, 0}} {
		states := []outcome{{status: p.in}}
		for _, i := range order {
			op := p.callers[i]
			if errs[i] == nil {
				states = op.apply(states)
			} else if errs[1-i] != nil && !op.gone && slices.Contains(op.from, p.in) {
				states = nil // both failed, and this operation had no reason to fail
			}
		}
		for _, s := range states {
			if s.dying && s.status == libcontainerd.StatusRunning {
				continue // the container will have exited
			}
			finals = append(finals, s.status)
		}
	}
	return finals
}

// apply returns the outcome of op, if the status allows op.
func (op operation) apply(states []outcome) []outcome {
	var next []outcome
	for _, s := range states {
		if !slices.Contains(op.from, s.status) {
			continue
		}
		if op.to != libcontainerd.StatusInvalid {
			s.status = op.to
		}
		if op.thaw && s.status == libcontainerd.StatusPaused {
			s.status = libcontainerd.StatusRunning
		}
		if op.to == libcontainerd.StatusDeleted {
			s.dying = false
		}
		s.dying = s.dying || (op.ends && s.status.Alive())
		next = append(next, s)
		if s.dying {
			next = append(next, outcome{status: libcontainerd.StatusStopped})
		}
	}
	return next
}

// pairsAtOnce tries some of the pairs, for real daemons, which are slow.
func pairsAtOnce(e *env) {
	by := map[string]operation{}
	for _, op := range operations() {
		by[op.name] = op
	}
	choice := map[libcontainerd.Status][][2]string{
		libcontainerd.StatusCreated: {{"start", "start"}, {"start", "delete"}, {"delete", "delete"},
			{"start", "force delete"}},
		libcontainerd.StatusRunning: {{"kill", "kill"}, {"kill", "exec"}, {"exec", "exec the same"},
			{"exec the same", "exec the same"},
			{"pause", "kill"}, {"pause", "pause"}, {"pause", "exec"}, {"pause", "force delete"},
			{"force delete", "exec"},
			{"force delete", "force delete"}, {"end", "exec"}, {"end", "pause"}, {"end", "kill"},
			{"end", "close stdin"},
			{"update", "kill"}, {"kill exec", "end of exec"}, {"stats", "force delete"}, {"wait", "kill all"}},
		libcontainerd.StatusPaused: {{"resume", "resume"}, {"resume", "kill"}, {"resume", "force delete"},
			{"update", "resume"}},
		libcontainerd.StatusStopped: {{"start", "delete"}, {"start", "start"}, {"force delete", "delete"}},
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var all []pair
	for in, names := range choice {
		for _, n := range names {
			all = append(all, pair{in: in, callers: [2]operation{by[n[0]], by[n[1]]},
				after: [2]time.Duration{1 + time.Duration(rng.Int64N(1e7)), 1 + time.Duration(rng.Int64N(1e7))}})
		}
	}
	e.tryAll(all, 4)
}

// tryAll tries the pairs, several at a time.
func (e *env) tryAll(all []pair, parallel int) {
	slots := make(chan struct{}, parallel)
	var tries sync.WaitGroup
	for _, p := range all {
		slots <- struct{}{}
		tries.Go(func() {
			defer func() { <-slots }()
			if err := p.try(e); err != nil {
				e.Errorf("%v: %v", p, err)
			}
		})
	}
	tries.Wait()
}
