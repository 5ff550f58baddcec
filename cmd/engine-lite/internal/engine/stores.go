package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/rootfs"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/imagemounts"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/volumes"
	"github.com/engine-lite/engine-lite/journal"
)

// Images are the images, and the root filesystems made from them. *images.Store
// is one.
type Images interface {
	images.Backend
	rootfs.Images

	imagemounts.Images
	PrepareRootfs(ctx context.Context, containerID string, img images.Image) ([]mount.Mount, error)
	Mounts(ctx context.Context, containerID string) ([]mount.Mount, error)
	RemoveRootfs(ctx context.Context, containerID string) error
	Usage(ctx context.Context, containerID string) (written, total int64, err error)
	Snapshotter() string
	Close() error
}

func (o Options) openJournal(path string) (store.Journal, error) {
	j, err := journal.Open(path, journal.Options{Format: store.Format, MaxAge: o.EventsMaxAge, MaxBytes: o.EventsMaxBytes})
	if errdefs.IsDataLoss(err) {
		err = fmt.Errorf("%w; containers run on, and \"engine-lite journal check\" tells more", err)
	}
	if err == nil && j.Torn() {
		log.WithField("journal", path).Warn(
			"one of the journal's two meta pages is damaged, as after a crash during a commit; " +
				"using the other page. An acknowledged commit is missing only if the disk lost synced data")
	}
	return j, err
}

// openStores opens journal, images and volumes. What was opened before an error is the
// engine's to close.
func (e *Engine) openStores(ctx context.Context) error {
	openJournal, openImages := e.opts.OpenJournal, e.opts.OpenImages
	if openJournal == nil {
		openJournal = e.opts.openJournal
	}
	if openImages == nil {
		openImages = func(ctx context.Context, root string) (Images, error) {
			return images.Open(ctx, root, images.Options{})
		}
	}
	j, err := openJournal(filepath.Join(e.opts.Root, JournalName))
	if err != nil {
		return err // not what comes with it, which may be a nil *journal.Journal
	}
	if e.store, err = store.Open(ctx, j, filepath.Join(e.opts.Root, JournalName), journalKinds()...); err != nil {
		return errors.Join(err, j.Close())
	}
	if err := e.mergeAmendments(ctx); err != nil {
		return err
	}
	img, err := openImages(ctx, filepath.Join(e.opts.Root, "images"))
	if err != nil {
		return err
	}
	e.images = img
	if e.imageMounts, err = imagemounts.Open(e.images, filepath.Join(e.opts.Root, "image-mounts")); err != nil {
		return err
	}
	e.volumes, err = volumes.Open(e.background.Context(), e.store, filepath.Join(e.opts.Root, "volumes"))
	return err
}
