package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/deletion"
)

// overlaySnapshotter is containerd's, except that its Cleanup only puts directories aside. containerd's deletes them,
// with all their files, while nobody can end it. The deleter does that.
type overlaySnapshotter struct {
	snapshots.Snapshotter
	meta    *storage.MetaStore
	dir     string
	deleter *deleter
}

func (s *Store) openOverlay(dir string) (snapshots.Snapshotter, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	meta, err := storage.NewMetaStore(filepath.Join(dir, "metadata.db"))
	if err != nil {
		return nil, err
	}
	inner, err := overlay.NewSnapshotter(dir, overlay.AsynchronousRemove, overlay.WithMetaStore(meta))
	if err != nil {
		return nil, errors.Join(err, meta.Close())
	}
	s.deleter = &deleter{dir: filepath.Join(dir, "removed"), log: s.log}
	o := &overlaySnapshotter{Snapshotter: inner, meta: meta, dir: filepath.Join(dir, "snapshots"), deleter: s.deleter}
	if err := os.MkdirAll(o.deleter.dir, 0o700); err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	return o, nil
}

// Cleanup implements snapshots.Cleaner. The directories of snapshots that are in the database stay. A transaction that
// writes keeps others from making a directory meanwhile.
func (o *overlaySnapshotter) Cleanup(ctx context.Context) error {
	err := o.meta.WithTransaction(ctx, true, func(ctx context.Context) error {
		known, err := storage.IDMap(ctx)
		if err != nil {
			return err
		}
		entries, err := os.ReadDir(o.dir)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if _, ok := known[entry.Name()]; ok {
				continue
			}
			// The name is that of no other: the database gives a number once.
			if err := os.Rename(filepath.Join(o.dir, entry.Name()), filepath.Join(o.deleter.dir, entry.Name())); err != nil {
				return fmt.Errorf("put a removed snapshot aside: %w", err)
			}
		}
		return nil
	})
	o.deleter.request()
	return err
}

// deleter deletes what removed snapshots have left, behind all else.
type deleter struct {
	dir    string
	log    *logrus.Entry
	wake   chan struct{}
	cancel context.CancelFunc
	joined sync.WaitGroup
}

// start starts the goroutine that stop ends. It begins with what an earlier store has left.
func (d *deleter) start() {
	ctx, cancel := context.WithCancel(context.Background())
	d.wake, d.cancel = make(chan struct{}, 1), cancel
	d.joined.Go(func() {
		for {
			if err := deletion.Below(ctx, d.dir); err != nil && ctx.Err() == nil {
				d.log.WithError(err).Warn("cannot delete all that removed layers have left; it stays until the next start")
			}
			select {
			case <-d.wake:
			case <-ctx.Done():
				return
			}
		}
	})
}

// request has the goroutine look again. It never blocks.
func (d *deleter) request() {
	if d.wake == nil {
		return // before start, which looks
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// stop ends the goroutine, in the middle of a directory too: the next store goes on.
func (d *deleter) stop() {
	d.cancel()
	d.joined.Wait()
}
