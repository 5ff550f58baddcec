package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/runtimed/internal/cgroup"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// load takes over what an earlier daemon left below the root. What cannot be read is logged and left alone: one
// damaged container must not keep the others from being served.
func (d *Daemon) load(ctx context.Context) error {
	if d.rebooted {
		if err := os.RemoveAll(filepath.Join(d.opts.Root, ".oci")); err != nil { // it speaks of pids, too
			return err
		}
	}
	d.awaitLeftovers(ctx)
	names, err := directories(d.opts.Root)
	if err != nil {
		return err
	}
	for _, ns := range names {
		if err := d.loadNamespace(ctx, ns); err != nil {
			return err
		}
	}
	d.sweep()
	d.endMembersOfEnded()
	return nil
}

// directories lists the directories whose names are ids. NotFound is no error.
func directories(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && ValidID("directory", e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d *Daemon) loadNamespace(ctx context.Context, ns string) error {
	dir := filepath.Join(d.opts.Root, ns)
	n := &namespace{containers: make(map[string]*container)}
	if err := statefile.ReadJSON(filepath.Join(dir, namespaceFile), &n.labels); err != nil && !errdefs.IsNotFound(err) {
		d.log.WithError(err).WithField("namespace", ns).Error(
			"cannot read the namespace's labels; the namespace has none")
	}
	d.namespaces[ns] = n
	ids, err := directories(dir)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if d.removedLeftover(filepath.Join(dir, id)) {
			continue
		}
		c, err := d.loadContainer(ctx, ns, id)
		if err != nil {
			d.log.WithError(err).WithField("container", id).Error(
				"cannot load a container; runtimed does not serve the container before its next start")
			continue
		}
		n.containers[id] = c
	}
	return nil
}

// removedLeftover removes a directory that has neither a record nor a task, and reports whether it was one. A create
// or a delete was killed half way, and nobody else would remove the directory.
func (d *Daemon) removedLeftover(dir string) bool {
	for _, name := range []string{containerFile, taskFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			return false // it is there, or can't be seen
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		d.log.WithError(err).WithField("directory", dir).Error(
			"cannot remove the directory of a container that has no record; trying again at the next start")
	}
	return true
}

func (d *Daemon) loadContainer(ctx context.Context, ns, id string) (*container, error) {
	dir := filepath.Join(d.opts.Root, ns, id)
	c := newContainer(d, ns, id, dir)
	if _, err := c.read(); err != nil {
		return nil, err
	}
	t, err := c.loadTask(ctx)
	if err != nil && !errdefs.IsNotFound(err) {
		return nil, err
	}
	c.task = t
	return c, nil
}

// readTask reads a task's own record, and no more. NotFound without one.
func readTask(c *container) (*containerTask, error) {
	t := &containerTask{c: c, execs: make(map[string]*Process)}
	t.init = newProcess(t, "", processRecord{}, creating)
	return t, statefile.ReadJSON(t.file(), &t.record)
}

// loadTask takes over a container's task. NotFound without one; what a create had not finished is taken back.
func (c *container) loadTask(ctx context.Context) (*containerTask, error) {
	d := c.d
	t, err := readTask(c)
	if err != nil {
		return nil, err
	}
	if d.rebooted {
		t.record.Planned = cgroup.Planned{} // whoever has them now
		if err := statefile.WriteJSON(t.file(), t.record); err != nil {
			return nil, err
		}
	}
	if err := c.loadCheckpoint(); err != nil {
		d.log.WithError(err).WithField("container", c.id).Error(
			"cannot finish or undo a checkpoint that an earlier runtimed began")
	}
	start, err := t.init.loadRecords()
	if errdefs.IsNotFound(err) && statefile.Exists(t.init.file(readyFile)) {
		t.init.undoRestore(ctx)
		t.init.status = created
		return t, nil
	}
	if errdefs.IsNotFound(err) {
		t.discardFailed(giveUpGrace) // the other containers wait
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	if start.Groups != nil {
		t.groups = *start.Groups
	}
	t.finishStart(ctx)
	t.init.status = t.loadStatus(ctx)
	t.paused = t.init.status == running && (t.groups.IsFreezing() || t.ownKernelPaused(ctx))
	t.init.adopt()
	names, err := directories(filepath.Join(c.dir, "execs"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := t.loadExec(name); err != nil {
			d.log.WithError(err).WithField("container", c.id).Errorf(
				"cannot load process %q; runtimed does not serve the process before its next start", name)
		}
	}
	return t, nil
}

// loadRecords reads a process's files. NotFound if it isn't known to exist.
func (p *Process) loadRecords() (startRecord, error) {
	var start startRecord
	if err := statefile.ReadJSON(p.file("process.json"), &p.record); err != nil {
		return start, err
	}
	if err := statefile.ReadJSON(p.file("start"), &start); err != nil {
		return start, err
	}
	if start.Pid <= 0 {
		return start, fmt.Errorf("the start record of %s has process id %d: %w", p, start.Pid, errdefs.ErrDataLoss)
	}
	p.pid, p.start = start.Pid, start.Start
	return start, nil
}

// loadStatus returns the status of an init process, whose exit record is still to be read. The OCI runtime is asked
// only if a start may have been interrupted.
func (t *containerTask) loadStatus(ctx context.Context) status {
	if statefile.Exists(t.init.file("running")) || t.stateAtRuntime(ctx) == "running" {
		return running
	}
	return created
}

// ownKernelPaused tells whether a container is paused by its own kernel, which the control groups don't tell.
func (t *containerTask) ownKernelPaused(ctx context.Context) bool {
	return t.record.Runtime.HasOwnKernel(t.c.id) && t.stateAtRuntime(ctx) == "paused"
}

// stateAtRuntime is the container's status in the words of its OCI runtime; empty where that fails.
func (t *containerTask) stateAtRuntime(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, giveUpGrace)
	defer cancel()
	return t.record.Runtime.State(ctx, t.c.id, t.init.dir)
}

func (t *containerTask) loadExec(name string) error {
	p := newProcess(t, name, processRecord{}, running)
	_, err := p.loadRecords()
	switch {
	case errdefs.IsNotFound(err) && p.record.Spec != nil:
		p.status = added
		p.undoStart()
	case err != nil:
		return err
	}
	t.execs[name] = p
	p.adopt()
	return nil
}

// findHalfMade looks for the process of an exec whose start was interrupted, so that undoStart can kill it. The
// process counts only if it is in the container's control group and belongs to nobody else.
func (p *Process) findHalfMade() {
	d := p.task.c.d
	pid, err := statefile.ReadPid(p.file("pid"))
	if err != nil || d.rebooted {
		return
	}
	start, err := keeper.StartTime(pid)
	if err != nil || d.exits.awaits(pid, start) {
		return // it is gone, or known as something else
	}
	groups := p.task.controlGroups()
	members, err := groups.Pids()
	if err != nil {
		return
	}
	if slices.Contains(members, pid) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.pid, p.start = pid, start
	}
}

// adopt completes a loaded process: it has ended and has an exit record, or its exit is awaited and its terminal runs
// again.
func (p *Process) adopt() {
	d := p.task.c.d
	if p.status == added {
		return
	}
	exit, err := loadExit(p.file("exit"))
	if err == nil {
		p.status, p.exit = stopped, exit
		close(p.done)
		return
	}
	if !errdefs.IsNotFound(err) {
		d.log.WithError(err).Error("cannot read the exit record of a process; ignoring the record")
	}
	if d.rebooted {
		p.finishNow(unknownExit("the host was booted anew"), nil)
		return
	}
	if p.record.Terminal {
		if err := p.takeTerminal(); err != nil {
			d.log.WithError(err).WithField("process", p.String()).Error(
				"cannot take the terminal of a process from the keeper; the terminal is lost")
		}
	} else if p.record.Stdin != "" {
		p.holdAgain()
	}
	d.exits.expect(p.pid, liveProcess{p: p, start: p.start, since: p.record.Asked})
}
