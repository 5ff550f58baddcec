package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/spec"
	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/remote"
)

const (
	// cgroupMount has all hierarchies of version 1 below it, or is the one of version 2.
	cgroupMount = "/sys/fs/cgroup"
	// parentLinger is how long the parent group stays empty before it is removed: making it
	// again takes the next container about two milliseconds.
	parentLinger = time.Second
)

// groupKeeper is a runtime daemon whose last container takes the parent of all containers'
// control groups with it. The OCI runtimes make the parent with a container's own group, and
// remove only the latter.
//
// Several engines share the parent. So whoever creates a task holds a shared lock, and who
// removes the parent an exclusive one: an OCI runtime that has found the parent makes its own
// group in it undisturbed.
type groupKeeper struct {
	*remote.Daemon
	parents []string // the directories, one per hierarchy
	lock    string   // the directory that is locked: all engines have it
	linger  time.Duration
	deleted chan struct{} // has room for one: a task was deleted
	cancel  context.CancelFunc
	sweeper sync.WaitGroup
}

// keepGroups removes what an engine left that was killed, and starts the sweeper, which Close
// ends.
func keepGroups(d *remote.Daemon) (*groupKeeper, error) {
	parents, err := parentGroups()
	if err != nil {
		return nil, err
	}
	return startGroupKeeper(d, parents, cgroupMount, parentLinger), nil
}

func startGroupKeeper(d *remote.Daemon, parents []string, lock string, linger time.Duration) *groupKeeper {
	ctx, cancel := context.WithCancel(context.Background())
	k := &groupKeeper{
		Daemon: d, parents: parents, lock: lock, linger: linger, deleted: make(chan struct{}, 1), cancel: cancel,
	}
	k.deleted <- struct{}{} // perhaps by an engine that was killed
	k.sweeper.Go(func() { k.sweep(ctx) })
	return k
}

// Close removes the parent if no container is in it. The engine has ended by now; the caller
// closes the runtime daemon itself.
func (k *groupKeeper) Close() error {
	k.cancel()
	k.sweeper.Wait()
	_, err := k.remove()
	return err
}

// CreateTask is the runtime daemon's, while nobody removes the parent.
func (k *groupKeeper) CreateTask(ctx context.Context, id string, c libcontainerd.TaskConfig) (int, error) {
	unlock, err := k.locked(unix.LOCK_SH)
	if err != nil {
		return 0, fmt.Errorf("cannot lock the containers' control group: %w", err)
	}
	defer unlock()
	return k.Daemon.CreateTask(ctx, id, c)
}

// Delete is the runtime daemon's. The sweeper looks afterwards whether that was the last task.
func (k *groupKeeper) Delete(ctx context.Context, id, process string) (libcontainerd.Exit, error) {
	exit, err := k.Daemon.Delete(ctx, id, process)
	if process == libcontainerd.InitProcess {
		select {
		case k.deleted <- struct{}{}:
		default: // it will look anyway
		}
	}
	return exit, err
}

// sweep removes the parent some time after a task was deleted, until ctx ends.
func (k *groupKeeper) sweep(ctx context.Context) {
	for {
		select {
		case <-k.deleted:
		case <-ctx.Done():
			return
		}
		for done := false; !done; {
			select {
			case <-time.After(k.linger):
			case <-ctx.Done():
				return
			}
			var err error
			if done, err = k.remove(); err != nil {
				logrus.WithError(err).Warn(
					"cannot remove the empty control group of all containers; trying again after the next container")
				done = true
			}
		}
	}
}

// remove removes the parent where it is empty. It tells whether nobody creates a task: if
// somebody does, the parent is left for a later call.
func (k *groupKeeper) remove() (done bool, err error) {
	unlock, err := k.locked(unix.LOCK_EX | unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	defer unlock()
	var errs []error
	for _, dir := range k.parents {
		err := unix.Rmdir(dir)
		// A group with groups in it is not empty for some kernels, and busy for cgroupfs.
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, &fs.PathError{Op: "rmdir", Path: dir, Err: err})
		}
	}
	return true, errors.Join(errs...)
}

// locked takes the lock of all engines, which the function returned gives back.
func (k *groupKeeper) locked(how int) (func(), error) {
	dir, err := os.Open(k.lock)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(dir.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "flock", Path: k.lock, Err: err}, dir.Close())
	}
	return func() { _ = dir.Close() }, nil // nothing was written
}

// parentGroups are the paths that the parent has in all hierarchies of this machine.
func parentGroups() ([]string, error) {
	if isCgroup(cgroupMount, unix.CGROUP2_SUPER_MAGIC) {
		return []string{filepath.Join(cgroupMount, spec.ParentGroup)}, nil
	}
	list, err := os.ReadDir(cgroupMount)
	if err != nil {
		return nil, fmt.Errorf("no control groups: %w", err)
	}
	var parents []string
	for _, entry := range list {
		dir := filepath.Join(cgroupMount, entry.Name())
		if entry.IsDir() && (isCgroup(dir, unix.CGROUP_SUPER_MAGIC) || isCgroup(dir, unix.CGROUP2_SUPER_MAGIC)) {
			parents = append(parents, filepath.Join(dir, spec.ParentGroup))
		}
	}
	return parents, nil
}

func isCgroup(dir string, magic int64) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && s.Type == magic
}
