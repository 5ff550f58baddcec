package runtimed

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ListPids lists the processes in the task's control group, the init process first; those that are execs carry their ids.
func (a *tasksAPI) ListPids(ctx context.Context, r *tasks.ListPidsRequest) (*tasks.ListPidsResponse, error) {
	p, err := a.process(ctx, r.ContainerID, "")
	if err != nil {
		return nil, err
	}
	groups := p.task.controlGroups()
	pids, err := groups.pids()
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes of container %q: %w", p.task.c.id, err)
	}
	if i := slices.Index(pids, int(p.livePid())); i > 0 {
		pids[0], pids[i] = pids[i], pids[0]
	}
	execs := make(map[int]string)
	for _, e := range p.task.processes() {
		if pid, _, ok := e.identity(); ok && e.exec != "" {
			execs[pid] = e.exec
		}
	}
	var list []*task.ProcessInfo
	for _, pid := range pids {
		info := &task.ProcessInfo{Pid: uint32(pid)}
		if exec := execs[pid]; exec != "" {
			if info.Info, err = typeurl.MarshalAnyToProto(&options.ProcessDetails{ExecID: exec}); err != nil {
				return nil, err
			}
		}
		list = append(list, info)
	}
	return &tasks.ListPidsResponse{Processes: list}, nil
}

// Metrics reads the counters of the tasks that match any of the filters, which can name "id" and "namespace". A task whose control group is
// gone has none and is left out.
func (a *tasksAPI) Metrics(ctx context.Context, r *tasks.MetricsRequest) (*tasks.MetricsResponse, error) {
	ns, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	filter, err := filters.ParseAll(r.Filters...)
	if err != nil {
		return nil, fmt.Errorf("bad filter: %w", err)
	}
	response := &tasks.MetricsResponse{}
	for _, c := range a.d.list(ns) {
		t := c.get()
		if t == nil || !filter.Match(taskFields(c)) {
			continue
		}
		groups := t.controlGroups()
		data, err := groups.stats()
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the counters of container %q: %w", c.id, err)
		}
		response.Metrics = append(response.Metrics, &types.Metric{Timestamp: timestamppb.Now(), ID: c.id, Data: data})
	}
	return response, nil
}

func taskFields(c *container) filters.Adaptor {
	return filters.AdapterFunc(func(path []string) (string, bool) {
		if len(path) != 1 {
			return "", false
		}
		switch path[0] {
		case "id":
			return c.id, true
		case "namespace":
			return c.ns, true
		}
		return "", false
	})
}

// Update changes the limits of a task.
func (a *tasksAPI) Update(ctx context.Context, r *tasks.UpdateTaskRequest) (*emptypb.Empty, error) {
	p, err := a.process(ctx, r.ContainerID, "")
	if err != nil {
		return nil, err
	}
	var resources specs.LinuxResources
	if err := json.Unmarshal(r.Resources.GetValue(), &resources); err != nil {
		return nil, fmt.Errorf("cannot read the resources: %v: %w", err, errdefs.ErrInvalidArgument)
	}
	t := p.task
	if err := a.d.host.requireControllers(&resources); err != nil {
		return nil, fmt.Errorf("cannot update %s: %w", p, err)
	}
	err = a.d.change(ctx, t.c, func(ctx context.Context) error {
		if t.init.hasEnded() || t.init.awaitsRestore() {
			return t.init.refused("update")
		}
		if t.isPaused() && t.record.Runtime.ownKernel(t.c.id) {
			return fmt.Errorf("cannot update %s while it is paused: its own kernel takes no limits then: %w", p, errdefs.ErrFailedPrecondition)
		}
		return t.classify(t.updateTask(ctx, &resources))
	})
	return &emptypb.Empty{}, err
}
