package tests

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/remote"
)

// TestContainerdRefusals makes requests that can't be done. The errors must have the
// classes that package libcontainerd promises, with each release of containerd.
func TestContainerdRefusals(t *testing.T) {
	rootfs := busyboxRootfs(t)
	eachContainerd(t, func(t *testing.T, release containerdRelease) {
		c := startContainerd(t, release)
		namespace := fmt.Sprintf("refusals-%s-%d", release.version, os.Getpid())
		t.Cleanup(func() { noRuncState(t, namespace) })
		d := c.dial(t, namespace)
		ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
		defer cancel()
		running, stopped := bareTask(ctx, t, d, rootfs, "running", "sleep 1000"),
			bareTask(ctx, t, d, rootfs, "stopped", "exit 3")
		if exit, err := d.Wait(ctx, stopped, libcontainerd.InitProcess); err != nil || exit.Code != 3 {
			t.Fatal(exit, err)
		}
		init := libcontainerd.InitProcess
		for name, r := range map[string]struct {
			err error
			is  func(error) bool
		}{
			"container twice": {d.CreateContainer(ctx,
				libcontainerd.Record{ID: running, Spec: scriptSpec(rootfs, "")}), errdefs.IsAlreadyExists},
			"no such container":     {d.DeleteContainer(ctx, "none"), errdefs.IsNotFound},
			"no container's task":   {second(d.CreateTask(ctx, "none", libcontainerd.TaskConfig{})), errdefs.IsNotFound},
			"task twice":            {second(d.CreateTask(ctx, running, libcontainerd.TaskConfig{})), errdefs.IsAlreadyExists},
			"no such task":          {second(d.Process(ctx, "none", init)), errdefs.IsNotFound},
			"no such exec":          {second(d.Process(ctx, running, "none")), errdefs.IsNotFound},
			"wait for no task":      {second(d.Wait(ctx, "none", init)), errdefs.IsNotFound},
			"wait for no exec":      {second(d.Wait(ctx, running, "none")), errdefs.IsNotFound},
			"start no exec":         {second(d.Start(ctx, running, "none")), errdefs.IsNotFound},
			"kill no task":          {d.Kill(ctx, "none", init, syscall.SIGKILL, false), errdefs.IsNotFound},
			"kill no exec":          {d.Kill(ctx, running, "none", syscall.SIGKILL, false), errdefs.IsNotFound},
			"kill a stopped one":    {d.Kill(ctx, stopped, init, syscall.SIGKILL, false), errdefs.IsNotFound},
			"delete a running one":  {second(d.Delete(ctx, running, init)), errdefs.IsFailedPrecondition},
			"delete no task":        {second(d.Delete(ctx, "none", init)), errdefs.IsNotFound},
			"delete no exec":        {second(d.Delete(ctx, running, "none")), errdefs.IsNotFound},
			"resume a running one":  {d.Resume(ctx, running), errdefs.IsFailedPrecondition},
			"pause a stopped one":   {d.Pause(ctx, stopped), errdefs.IsFailedPrecondition},
			"resume a stopped one":  {d.Resume(ctx, stopped), errdefs.IsFailedPrecondition},
			"pause nothing":         {d.Pause(ctx, "none"), errdefs.IsNotFound},
			"processes of nothing":  {second(d.Pids(ctx, "none")), errdefs.IsNotFound},
			"statistics of nothing": {second(d.Stats(ctx, "none")), errdefs.IsNotFound},
			"update nothing":        {d.Update(ctx, "none", nil), errdefs.IsNotFound},
		} {
			if !r.is(r.err) {
				t.Errorf("%s: %v", name, r.err)
			}
		}
		removeTask(ctx, t, d, running)
		removeTask(ctx, t, d, stopped)
	})
}

func second[T any](_ T, err error) error { return err }

// bareTask starts a container's task at the daemon, without stdio.
func bareTask(ctx context.Context, t *testing.T, d *remote.Daemon, rootfs, id, script string) string {
	t.Helper()
	spec := scriptSpec(rootfs, script)
	// The default name has only the id, which containers of other namespaces may have, too.
	spec.Linux.CgroupsPath = fmt.Sprintf("/engine-lite-tests-%d-%s", os.Getpid(), id)
	if err := d.CreateContainer(ctx, libcontainerd.Record{ID: id, Spec: spec}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.CreateTask(ctx, id, libcontainerd.TaskConfig{}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Start(ctx, id, libcontainerd.InitProcess); err != nil {
		t.Fatal(err)
	}
	return id
}

// removeTask kills a task if it runs, and deletes the task and its container.
func removeTask(ctx context.Context, t *testing.T, d *remote.Daemon, id string) {
	t.Helper()
	if err := d.Kill(ctx, id, libcontainerd.InitProcess, syscall.SIGKILL, true); err != nil &&
		!errdefs.IsNotFound(err) {
		t.Error(err)
	}
	if _, err := d.Wait(ctx, id, libcontainerd.InitProcess); err != nil {
		t.Error(err)
	}
	if _, err := d.Delete(ctx, id, libcontainerd.InitProcess); err != nil {
		t.Error(err)
	}
	if err := d.DeleteContainer(ctx, id); err != nil {
		t.Error(err)
	}
}
