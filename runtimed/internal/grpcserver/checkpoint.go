package grpcserver

import (
	"context"
	"fmt"
	"path/filepath"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/runtimed/internal/ociruntime"
)

// Checkpoint writes a running task's processes to the directory options.image_path, which doesn't exist yet or is
// empty. With options.exit they end then, killed by CRIU, and the answer comes after their exit. After an error the
// task goes on and nothing is left of the checkpoint.
//
// What a container had written to its outputs by then is not in it, whether it was read or not; what it had not read
// of its stdin is. A terminal of the container's own needs no options.terminal, which is for those of somebody else.
func (a *tasksAPI) Checkpoint(
	ctx context.Context, r *tasks.CheckpointTaskRequest,
) (*tasks.CheckpointTaskResponse, error) {
	p, err := a.process(ctx, r.ContainerID, "")
	if err != nil {
		return nil, err
	}
	opts, err := checkpointOptions(r)
	if err != nil {
		return nil, fmt.Errorf("cannot checkpoint %s: %w", p, err)
	}
	err = p.Checkpoint(ctx, opts)
	return &tasks.CheckpointTaskResponse{}, err
}

// checkpointOptions decodes and checks a request. InvalidArgument, or NotImplemented for what runtimed doesn't do.
func checkpointOptions(r *tasks.CheckpointTaskRequest) (*options.CheckpointOptions, error) {
	if r.ParentCheckpoint != "" {
		return nil, fmt.Errorf("parent checkpoints are in a content store, which runtimed doesn't have: %w",
			errdefs.ErrNotImplemented)
	}
	var opts options.CheckpointOptions
	if r.Options.GetTypeUrl() != "" {
		err := ociruntime.Unpack(r.Options, &opts, "exit", "open_tcp", "external_unix_sockets", "terminal",
			"file_locks", "empty_namespaces",
			"cgroups_mode", "image_path", "work_path")
		if err != nil {
			return nil, err
		}
	}
	if opts.ImagePath == "" {
		return nil, fmt.Errorf("runtimed doesn't have a content store, a checkpoint needs a directory (image_path): %w",
			errdefs.ErrNotImplemented)
	}
	for _, path := range []string{opts.ImagePath, opts.WorkPath} {
		if path != "" && (!filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/") {
			return nil, fmt.Errorf("%.200q is not an absolute and clean path: %w", path, errdefs.ErrInvalidArgument)
		}
	}
	return &opts, nil
}
