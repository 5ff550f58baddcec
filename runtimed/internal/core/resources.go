package core

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"
)

// Members lists the processes in the control groups of an init process's task, that one first, and the ids of those
// that are execs.
func (p *Process) Members() (pids []int, execs map[int]string, err error) {
	groups := p.task.controlGroups()
	pids, err = groups.Pids()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot list the processes of container %q: %w", p.task.c.id, err)
	}
	if i := slices.Index(pids, int(p.Pid())); i > 0 {
		pids[0], pids[i] = pids[i], pids[0]
	}
	execs = make(map[int]string)
	for _, e := range p.task.processes() {
		if pid, _, ok := e.identity(); ok && e.exec != "" {
			execs[pid] = e.exec
		}
	}
	return pids, execs, nil
}

// EachMetric calls fn with the counters of the tasks of a namespace whose container's id is wanted, as
// io.containerd.cgroups.v1.Metrics or v2.Metrics. A task whose control group is gone has none and is left out.
func (d *Daemon) EachMetric(ns string, wanted func(id string) bool, fn func(id string, data *anypb.Any)) error {
	for _, c := range d.list(ns) {
		t := c.get()
		if t == nil || !wanted(c.id) {
			continue
		}
		groups := t.controlGroups()
		data, err := groups.Stats()
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot read the counters of container %q: %w", c.id, err)
		}
		fn(c.id, data)
	}
	return nil
}

// Update changes the limits of an init process's task.
func (p *Process) Update(ctx context.Context, resources *specs.LinuxResources) error {
	d := p.task.c.d
	t := p.task
	if err := d.host.RequireResources(resources); err != nil {
		return fmt.Errorf("cannot update %s: %w", p, err)
	}
	return t.c.change(ctx, func(ctx context.Context) error {
		if t.init.hasEnded() || t.init.awaitsRestore() {
			return t.init.wrongStatus("update")
		}
		if t.isPaused() && t.record.Runtime.HasOwnKernel(t.c.id) {
			return fmt.Errorf("cannot update %s while it is paused: its own kernel takes no limits then: %w",
				p, errdefs.ErrFailedPrecondition)
		}
		return t.classify(t.record.Runtime.Update(ctx, t.target(), resources))
	})
}
