package libcontainerdtest

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

var checkpointCases = []contractCase{
	{name: "checkpoint/runs on", run: checkpointRunsOn},
	{name: "checkpoint/ends, and goes on where it was", run: checkpointEnds},
	{name: "checkpoint/two at once", run: checkpointTwo},
	{name: "state/checkpoint is refused", run: checkpointRefused},
	{name: "failure/checkpoint leaves nothing", faults: true, run: checkpointFails},
}

// counts is a script that writes numbers, more than any case waits for.
func counts() string {
	var script strings.Builder
	for i := range 600 {
		fmt.Fprintf(&script, "echo %d; sleep 0.1; ", i+1)
	}
	return script.String()
}

// counted waits until a container has written n numbers, and returns all of them.
func (e *env) counted(ctr *libcontainerd.Container, n int) []int {
	e.Helper()
	for {
		lines := strings.SplitAfter(e.recorder.Output(ctr.ID(), initProcess), "\n")
		if lines = lines[:len(lines)-1]; len(lines) >= n {
			return e.numbers(lines)
		}
		if e.ctx.Err() != nil {
			e.Fatalf("waited too long for %d numbers; there are %q", n, lines)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// numbers parses lines of numbers, which must have no gap.
func (e *env) numbers(lines []string) []int {
	e.Helper()
	var all []int
	for _, line := range lines {
		n, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || (len(all) > 0 && n != all[len(all)-1]+1) {
			e.Fatalf("%q doesn't count: %v", lines, err)
		}
		all = append(all, n)
	}
	return all
}

// checkpointed starts a container that counts, and checkpoints it.
func (e *env) checkpointed(exit bool) (ctr *libcontainerd.Container, dir string) {
	e.Helper()
	ctr = e.started(counts())
	e.counted(ctr, 3)
	root := e.TempDir()
	e.must(ctr.Checkpoint(e.ctx, libcontainerd.CheckpointOptions{Root: root, Name: "one", Exit: exit}))
	if names, err := libcontainerd.Checkpoints(root); err != nil || len(names) != 1 || names[0] != "one" {
		e.Fatalf("checkpoints %v, %v", names, err)
	}
	return ctr, filepath.Join(root, "one")
}

// goesOn starts a container from a checkpoint, and returns the numbers that the container writes then.
func (e *env) goesOn(ctr *libcontainerd.Container, dir string) []int {
	e.Helper()
	pid, err := ctr.Start(e.ctx, libcontainerd.StartOptions{Checkpoint: dir})
	e.must(err)
	numbers := e.counted(ctr, 3)
	e.status(ctr, libcontainerd.StatusRunning)
	if pid <= 0 || ctr.Pid() != pid {
		e.Fatalf("pid %d, kept as %d", pid, ctr.Pid())
	}
	e.must(ctr.KillAll(e.ctx, syscall.SIGKILL))
	e.exits(ctr, initProcess, 137)
	return numbers
}

func checkpointRunsOn(e *env) {
	ctr, dir := e.checkpointed(false)
	e.status(ctr, libcontainerd.StatusRunning)
	after := len(e.counted(ctr, 1))
	e.counted(ctr, after+3)
	e.must(ctr.KillAll(e.ctx, syscall.SIGKILL))
	e.exits(ctr, initProcess, 137)
	if got := e.goesOn(ctr, dir); got[0] < 4 || got[0] > after+1 {
		e.Fatalf("it had counted to %d at the most, and goes on with %v", after, got)
	}
}

func checkpointEnds(e *env) {
	ctr, dir := e.checkpointed(true)
	exit, err := ctr.Wait(e.ctx, initProcess)
	e.must(err)
	if exit.Unknown != "" || exit.Time.IsZero() {
		e.Fatalf("exit %+v", exit)
	}
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExit)
	numbers := e.counted(ctr, 3)
	last := numbers[len(numbers)-1]
	for range 2 { // a checkpoint can be restored several times
		if got := e.goesOn(ctr, dir); got[0] != last+1 {
			e.Fatalf("it had counted to %d, and goes on with %v", last, got)
		}
	}
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExit, libcontainerd.EventStart,
		libcontainerd.EventExit,
		libcontainerd.EventStart, libcontainerd.EventExit)
}

func checkpointTwo(e *env) {
	ctr, root := e.started(counts()), e.TempDir()
	e.counted(ctr, 1)
	errs := make([]error, 2)
	var both sync.WaitGroup
	for i := range errs {
		both.Go(func() { errs[i] = ctr.Checkpoint(e.ctx, libcontainerd.CheckpointOptions{Root: root, Name: "same"}) })
	}
	both.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		e.Fatalf("errors %v", errs)
	}
	for _, err := range errs {
		if err != nil && !errdefs.IsFailedPrecondition(err) && !errdefs.IsAlreadyExists(err) {
			e.Fatal(err)
		}
	}
	e.status(ctr, libcontainerd.StatusRunning)
}

func checkpointRefused(e *env) {
	ctr, root := e.create("sleep 1000"), e.TempDir()
	good := libcontainerd.CheckpointOptions{Root: root, Name: "one"}
	e.refused(ctr.Checkpoint(e.ctx, good), errdefs.IsFailedPrecondition)
	_, err := ctr.Start(e.ctx, libcontainerd.StartOptions{Checkpoint: "relative"})
	e.refused(err, errdefs.IsInvalidArgument)
	_, err = ctr.Start(e.ctx, libcontainerd.StartOptions{Checkpoint: filepath.Join(root, "none")})
	e.refused(err, errdefs.IsNotFound)
	e.nothingStarted(ctr, libcontainerd.StatusCreated)
	e.start(ctr, libcontainerd.StdioConfig{})
	for _, bad := range []libcontainerd.CheckpointOptions{{}, {Root: root}, {Root: "relative", Name: "one"},
		{Root: root, Name: "../one"}, {Name: "one"}} {
		e.refused(ctr.Checkpoint(e.ctx, bad), errdefs.IsInvalidArgument)
	}
	e.must(ctr.Pause(e.ctx))
	e.refused(ctr.Checkpoint(e.ctx, good), errdefs.IsFailedPrecondition)
	e.must(ctr.Resume(e.ctx))
	e.noCheckpoint(root)
}

// noCheckpoint fails unless the root is empty.
func (e *env) noCheckpoint(root string) {
	e.Helper()
	if left, err := filepath.Glob(filepath.Join(root, "*")); err != nil || len(left) > 0 {
		e.Fatalf("checkpoints left: %v, %v", left, err)
	}
	if left, err := filepath.Glob(filepath.Join(root, ".*")); err != nil || len(left) > 0 {
		e.Fatalf("parts of checkpoints left: %v, %v", left, err)
	}
}

func checkpointFails(e *env) {
	ctr, root := e.started("sleep 1000"), e.TempDir()
	o := libcontainerd.CheckpointOptions{Root: root, Name: "one", Exit: true}
	e.Fake.Fail("Checkpoint", 1, Fault{Err: errdefs.ErrNotImplemented})
	e.refused(ctr.Checkpoint(e.ctx, o), errdefs.IsNotImplemented)
	e.noCheckpoint(root)
	e.Fake.Fail("Checkpoint", 1, Fault{Hang: true})
	ctx, cancel := context.WithTimeout(e.ctx, time.Second)
	defer cancel()
	e.refused(ctr.Checkpoint(ctx, o), errdefs.IsDeadlineExceeded)
	e.noCheckpoint(root)
	e.status(ctr, libcontainerd.StatusRunning)
	e.Fake.Fail("Checkpoint", 1, Fault{Late: true, Err: errdefs.ErrUnavailable})
	e.refused(ctr.Checkpoint(e.ctx, o), errdefs.IsUnavailable)
	e.noCheckpoint(root)
	e.exits(ctr, initProcess, 137)
}
