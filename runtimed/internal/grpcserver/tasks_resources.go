package grpcserver

import (
	"context"
	"encoding/json"
	"fmt"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ListPids lists the processes in the task's control group, the init process first; those that are execs carry their
// ids.
func (a *tasksAPI) ListPids(ctx context.Context, r *tasks.ListPidsRequest) (*tasks.ListPidsResponse, error) {
	p, err := a.process(ctx, r.ContainerID, "")
	if err != nil {
		return nil, err
	}
	pids, execs, err := p.Members()
	if err != nil {
		return nil, err
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

// Metrics reads the counters of the tasks that match any of the filters, which can name "id" and "namespace". A task
// whose control group is gone has none and is left out.
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
	err = a.d.EachMetric(ns, func(id string) bool { return filter.Match(taskFields(ns, id)) },
		func(id string, data *anypb.Any) {
			response.Metrics = append(response.Metrics, &types.Metric{Timestamp: timestamppb.Now(), ID: id, Data: data})
		})
	if err != nil {
		return nil, err
	}
	return response, nil
}

func taskFields(ns, id string) filters.Adaptor {
	return filters.AdapterFunc(func(path []string) (string, bool) {
		if len(path) != 1 {
			return "", false
		}
		switch path[0] {
		case "id":
			return id, true
		case "namespace":
			return ns, true
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
	return &emptypb.Empty{}, p.Update(ctx, &resources)
}
