package core

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/runtimed/internal/ocispec"
	"github.com/engine-lite/engine-lite/runtimed/internal/proc"
)

// joinSandbox makes a container's spec share the namespaces of the sandbox that its annotations name; the plan then
// has the sandbox, and open descriptors of its namespaces, which the spec refers to: no other process can get in
// between, whoever has the sandbox's pid by then.
func (t *containerTask) joinSandbox(p *plan, spec *specs.Spec) error {
	d := t.c.d
	isSandbox, id, err := ocispec.SandboxRole(t.c.id, spec)
	t.record.IsSandbox = isSandbox
	if err != nil || id == "" {
		return err
	}
	sandbox, err := d.findSandbox(t.c.ns, id)
	if err != nil {
		return fmt.Errorf("cannot create container %q in its sandbox: %w", t.c.id, err)
	}
	ref, ok := sandbox.ref()
	if !ok {
		return sandbox.notRunning()
	}
	own, err := sandbox.spec()
	if err == nil {
		err = ocispec.CheckHostname(spec, own, id)
	}
	if err == nil {
		err = ocispec.ShareUsers(spec, own, id)
	}
	if err != nil {
		return err
	}
	if p.pins, err = ocispec.Share(spec, ref); err != nil {
		return fmt.Errorf("cannot share the namespaces of sandbox %q: %w", id, err)
	}
	p.sandbox, t.record.Sandbox = sandbox, &ref
	return nil
}

// findSandbox finds a sandbox's task. NotFound without a container of this id; FailedPrecondition if it is no sandbox
// or has no task.
func (d *Daemon) findSandbox(ns, id string) (*containerTask, error) {
	c, err := d.find(ns, id)
	if err != nil {
		return nil, err
	}
	t := c.get()
	switch {
	case t == nil:
		return nil, fmt.Errorf("sandbox %q has no task: %w", id, errdefs.ErrFailedPrecondition)
	case !t.record.IsSandbox:
		return nil, fmt.Errorf("container %q is not a sandbox: %w", id, errdefs.ErrFailedPrecondition)
	}
	return t, nil
}

// ref names this run of a sandbox; false if it has ended.
func (t *containerTask) ref() (ocispec.SandboxRef, bool) {
	pid, start, ok := t.init.identity()
	return ocispec.SandboxRef{ID: t.c.id, Pid: pid, Start: start}, ok
}

func (t *containerTask) notRunning() error {
	return fmt.Errorf("sandbox %q is not running: %w", t.c.id, errdefs.ErrFailedPrecondition)
}

// spec is what the task's container was recorded with.
func (t *containerTask) spec() (*specs.Spec, error) {
	var own specs.Spec
	record, err := t.c.read()
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(record.Spec.GetValue(), &own); err != nil {
		return nil, fmt.Errorf("cannot read the spec of sandbox %q: %v: %w", t.c.id, err, errdefs.ErrFailedPrecondition)
	}
	return &own, nil
}

// register makes a new task the task of its container, unless its sandbox has ended. When a sandbox ends, its
// containers are looked up afterwards, so that this one is found.
func (t *containerTask) register() error {
	if s := t.plan.sandbox; s != nil {
		s.init.mu.Lock()
		defer s.init.mu.Unlock()
		if s.init.status == stopped {
			return s.notRunning()
		}
	}
	t.c.setTask(t)
	return nil
}

// members are the tasks in this run of a sandbox.
func (t *containerTask) members() []*containerTask {
	t.init.mu.Lock()
	ref := ocispec.SandboxRef{ID: t.c.id, Pid: t.init.pid, Start: t.init.start}
	t.init.mu.Unlock()
	var list []*containerTask
	for _, c := range t.c.d.list(t.c.ns) {
		if m := c.get(); m != nil && m.record.Sandbox != nil && *m.record.Sandbox == ref {
			list = append(list, m)
		}
	}
	return list
}

// endMembers kills what is in a sandbox that has ended. It waits for nothing.
func (t *containerTask) endMembers() {
	if !t.record.IsSandbox {
		return
	}
	for _, m := range t.members() {
		m.endWithSandbox()
	}
}

// awaitMembers waits until all containers of an ended sandbox have ended and their exits are announced.
func (t *containerTask) awaitMembers(ctx context.Context) error {
	if !t.record.IsSandbox {
		return nil
	}
	t.endMembers()
	for _, m := range t.members() {
		if err := awaitEnd(ctx, m.init); err != nil {
			return fmt.Errorf("%s of sandbox %q doesn't end: %w", m.init, t.c.id, err)
		}
	}
	return nil
}

// endWithSandbox kills a container whose sandbox has ended. A paused container dies when it is thawed; for that an
// operation that is under way is waited for.
func (t *containerTask) endWithSandbox() {
	d := t.c.d
	pid, start, ok := t.init.identity()
	if !ok {
		return
	}
	log := d.log.WithField("container", t.c.id)
	if err := proc.Signal(pid, start, proc.KillSignal); err != nil && !errdefs.IsNotFound(err) {
		log.WithError(err).Error("cannot kill a container whose sandbox has ended")
	}
	d.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), runtimeTimeout)
		defer cancel()
		if err := t.c.change(ctx, func(ctx context.Context) error { return t.thaw(ctx) }); err != nil {
			log.WithError(err).Error("cannot thaw a container whose sandbox has ended")
		}
	})
}

// endMembersOfEnded kills the containers whose sandbox ended while no runtimed was there to see it.
func (d *Daemon) endMembersOfEnded() {
	for _, c := range d.all() {
		t := c.get()
		if t == nil || t.record.Sandbox == nil {
			continue
		}
		if sandbox, err := d.findSandbox(c.ns, t.record.Sandbox.ID); err == nil {
			if ref, runs := sandbox.ref(); runs && ref == *t.record.Sandbox {
				continue
			}
		}
		t.endWithSandbox()
	}
}
