package images

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/deletion"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/overlays"
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
	s.deleter = newDeleter(filepath.Join(dir, "removed"), s.log)
	o := &overlaySnapshotter{Snapshotter: inner, meta: meta, dir: filepath.Join(dir, "snapshots"), deleter: s.deleter}
	if err := errors.Join(os.MkdirAll(o.deleter.dir, 0o700), o.removeMarks(s.log)); err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	return o, nil
}

// removeMarks removes what the copies of a killed engine have left, so that their containers can be started.
func (o *overlaySnapshotter) removeMarks(log *logrus.Entry) error {
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if err := overlays.RemoveMark(filepath.Join(o.dir, entry.Name(), "work")); err != nil {
			log.WithError(err).WithField("snapshot", entry.Name()).Error(
				"cannot remove what a copy has left; the container of this snapshot may not start before that")
		}
	}
	return nil
}

// Cleanup implements snapshots.Cleaner. The directories of snapshots that are in the database stay. A transaction that
// writes keeps others from making a directory meanwhile.
func (o *overlaySnapshotter) Cleanup(ctx context.Context) error {
	err := o.meta.WithTransaction(ctx, true, func(ctx context.Context) error {
		known, err := storage.IDMap(ctx)
		if err != nil && !errdefs.IsNotFound(err) { // a database that never had a snapshot
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
			// The database gives a number again if the transaction that took it was not committed.
			if err := os.Rename(filepath.Join(o.dir, entry.Name()), filepath.Join(o.deleter.dir, rand.Text())); err != nil {
				return fmt.Errorf("put a removed snapshot aside: %w", err)
			}
		}
		return nil
	})
	o.deleter.request()
	return err
}

// deleter deletes the directories of removed snapshots, in the background.
type deleter struct {
	dir    string
	log    *logrus.Entry
	wake   chan struct{}
	cancel context.CancelFunc
	joined sync.WaitGroup
}

func newDeleter(dir string, log *logrus.Entry) *deleter {
	return &deleter{dir: dir, log: log, wake: make(chan struct{}, 1)}
}

// start starts the goroutine that stop ends. It begins with what an earlier store has left.
func (d *deleter) start() {
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
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
