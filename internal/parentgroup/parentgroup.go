// Package parentgroup removes the control group that is the parent of all containers' groups, after the last container.
//
// The OCI runtimes make the parent together with a container's own group, and remove only the latter. The parent is
// removed by whoever has the last container's group removed: runtimed, or the engine on containerd.
package parentgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/internal/flock"
)

const (
	// mountPoint has all hierarchies of version 1 below it, or is the one of version 2.
	mountPoint = "/sys/fs/cgroup"
	// linger is how long the parent stays empty before it is removed: the next container takes about two milliseconds
	// longer where the parent is missing.
	linger = time.Second
)

// Keeper removes a parent group when no container's group is in it. A nil Keeper does nothing. Its methods may be called
// from any goroutine.
//
// Several daemons may share the parent. So whoever creates a container holds a shared lock, and who removes the parent an
// exclusive one: an OCI runtime that has found the parent makes its own group in it undisturbed.
type Keeper struct {
	parents []string // the directories, one per hierarchy
	lock    string   // the directory that is locked: the root group, which all daemons that share the parent have
	linger  time.Duration
	deleted chan struct{} // has room for one: a container was deleted
	cancel  context.CancelFunc
	sweeper sync.WaitGroup
}

// New returns the keeper of a group by its name below the root of the control groups; nil for an empty name, and where
// there are no control groups. A group that
// a killed daemon left empty is removed. The caller closes the keeper.
func New(name string) (*Keeper, error) {
	if name == "" {
		return nil, nil
	}
	if !filepath.IsLocal(name) || filepath.Base(name) != name || name == "." {
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "the parent control group %q is no plain name", name)
	}
	parents, err := directories(name)
	if err != nil {
		return nil, err
	}
	if len(parents) == 0 {
		return nil, nil
	}
	return start(parents, filepath.Dir(parents[0]), linger), nil
}

func start(parents []string, lock string, linger time.Duration) *Keeper {
	ctx, cancel := context.WithCancel(context.Background())
	k := &Keeper{parents: parents, lock: lock, linger: linger, deleted: make(chan struct{}, 1), cancel: cancel}
	k.Deleted() // perhaps by a daemon that was killed
	k.sweeper.Go(func() { k.sweep(ctx) })
	return k
}

// Close removes the parent if no container is in it. The caller neither creates nor deletes a container any more.
func (k *Keeper) Close() error {
	if k == nil {
		return nil
	}
	k.cancel()
	k.sweeper.Wait()
	_, err := k.remove()
	return err
}

// Creating keeps the parent from being removed until the function returned is called. Errors: the end of ctx.
func (k *Keeper) Creating(ctx context.Context) (done func(), err error) {
	if k == nil {
		return func() {}, nil
	}
	unlock, err := k.locked(func(dir *os.File) error { return flock.Lock(ctx, dir, flock.Shared) })
	if err != nil {
		return nil, fmt.Errorf("cannot lock the containers' control group: %w", err)
	}
	return unlock, nil
}

// Deleted tells that a container's group was removed. The parent is looked at some time later.
func (k *Keeper) Deleted() {
	if k == nil {
		return
	}
	select {
	case k.deleted <- struct{}{}:
	default: // the sweeper looks anyway
	}
}

// sweep removes the parent some time after a container was deleted, until ctx ends.
func (k *Keeper) sweep(ctx context.Context) {
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

// remove removes the parent where it is empty. It tells whether nobody creates a container: if somebody does, the parent
// is left for a later call.
func (k *Keeper) remove() (done bool, err error) {
	unlock, err := k.tryLock()
	if errors.Is(err, flock.ErrTaken) {
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

// tryLock takes the exclusive lock if nobody has the lock. Errors: flock.ErrTaken.
func (k *Keeper) tryLock() (unlock func(), err error) {
	return k.locked(func(dir *os.File) error { return flock.Try(dir, flock.Exclusive) })
}

// locked takes the lock. The function returned gives the lock back.
func (k *Keeper) locked(take func(*os.File) error) (unlock func(), err error) {
	dir, err := os.Open(k.lock)
	if err != nil {
		return nil, err
	}
	if err := take(dir); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return func() { _ = dir.Close() }, nil // nothing was written
}

// directories are the paths that a group has in all hierarchies of this machine.
func directories(name string) ([]string, error) {
	if isCgroup(mountPoint, unix.CGROUP2_SUPER_MAGIC) {
		return []string{filepath.Join(mountPoint, name)}, nil
	}
	list, err := os.ReadDir(mountPoint)
	if err != nil {
		return nil, fmt.Errorf("no control groups: %w", err)
	}
	var paths []string
	for _, entry := range list {
		dir := filepath.Join(mountPoint, entry.Name())
		if entry.IsDir() && (isCgroup(dir, unix.CGROUP_SUPER_MAGIC) || isCgroup(dir, unix.CGROUP2_SUPER_MAGIC)) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths, nil
}

func isCgroup(dir string, magic int64) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && s.Type == magic
}
