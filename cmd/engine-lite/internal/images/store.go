// Package images keeps images and the root file systems that containers get
// from them. It joins containerd's libraries: the local content store holds
// blobs, a bolt database holds names and references, and a snapshotter
// (overlayfs, or native where the kernel or file system can't) holds unpacked
// layers and one writable layer per container.
//
// Images look as they do in Docker: an image's id is the digest of its
// configuration, names are familiar ("busybox" is
// docker.io/library/busybox:latest), and a tag that moves leaves an untagged
// image behind.
//
// Content that nothing refers to is collected in the background. Names, the
// writable layers of containers and operations under way refer to the content
// that they need.
package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/diff/apply"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/sirupsen/logrus"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/internal/treesize"
)

// DefaultNamespace is the metadata namespace that a Store uses when its
// Options name none.
const DefaultNamespace = "engine-lite"

// openTimeout bounds the wait for another process to let go of the root.
const openTimeout = 500 * time.Millisecond

// walksAtOnce bounds how many writable layers are measured at once.
const walksAtOnce = 2

// Options configure a Store. The zero value is usable.
type Options struct {
	// Snapshotter is "overlayfs", "native", or empty: overlayfs where it
	// works under the root, else native.
	Snapshotter string
	// Namespace is the metadata namespace; empty means DefaultNamespace.
	Namespace string
	// CollectDelay is how long a collection in the background waits after the
	// request for it, so that one collection serves many requests; zero means one
	// second.
	CollectDelay time.Duration
	// Log takes the store's messages and those of the libraries below it;
	// nil means logrus's standard logger.
	Log *logrus.Entry
}

// Store is the image store of one root directory. Its methods may be called
// concurrently. It owns the directory until Close.
type Store struct {
	root        string
	namespace   string
	log         *logrus.Entry
	platform    platforms.MatchComparer
	snapshotter string
	backend     snapshots.Snapshotter

	meta      *metadata.DB
	content   content.Store
	images    ctrimages.Store
	leases    leases.Manager
	snapshots snapshots.Snapshotter
	applier   diff.Applier

	// names is the catalog that Resolve reads. The holder of edits replaces it as
	// a whole.
	names     atomic.Pointer[catalog]
	edits     admission
	unpacking keyedAdmission
	sizes     layerSizes
	meter     *treesize.Meter
	collector collector
	deleter   *deleter // nil for a snapshotter that deletes at once
}

// Open opens the store under root, and makes root if it is missing. It releases the
// content that operations held which a crash cut off, and starts the collection in
// the background, which Close ends. The errors are FailedPrecondition if another
// process has the root open, and InvalidArgument for an unknown snapshotter.
func Open(ctx context.Context, root string, o Options) (*Store, error) {
	s := &Store{
		namespace: o.Namespace,
		log:       o.Log,
		platform:  platforms.Default(),
		edits:     newAdmission(),
		root:      root,
		meter:     treesize.NewMeter(walksAtOnce, treesize.Blocks),
	}
	if s.namespace == "" {
		s.namespace = DefaultNamespace
	}
	if s.log == nil {
		s.log = logrus.NewEntry(logrus.StandardLogger())
	}
	s.collector.collect, s.collector.delay, s.collector.log = s.tidy, o.CollectDelay, s.log
	ctx = s.scope(ctx)
	if err := s.openDatabases(ctx, root, o.Snapshotter); err != nil {
		return nil, err
	}
	if err := s.recover(ctx); err != nil {
		return nil, errors.Join(err, s.closeDatabases())
	}
	s.holdSpace()
	if s.deleter != nil {
		s.deleter.start()
	}
	s.collector.start()
	s.collector.request()
	return s, nil
}

// openDatabases opens metadata, content and snapshotter. The metadata comes first: its
// file lock keeps other processes away from the root.
func (s *Store) openDatabases(ctx context.Context, root, snapshotter string) error {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return fmt.Errorf("cannot make image root: %w", err)
	}
	db, err := bolt.Open(filepath.Join(root, "metadata.db"), 0o600, &bolt.Options{Timeout: openTimeout})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return classed.Errorf(errdefs.ErrFailedPrecondition, "image root %s is in use by another process", root)
	}
	if err != nil {
		return fmt.Errorf("cannot open image metadata: %w", err)
	}
	blobs, err := local.NewStore(filepath.Join(root, "content"))
	if err != nil {
		return errors.Join(fmt.Errorf("cannot open content store: %w", err), db.Close())
	}
	if err := s.openSnapshotter(root, snapshotter); err != nil {
		return errors.Join(err, db.Close())
	}
	s.meta = metadata.NewDB(db, blobs, map[string]snapshots.Snapshotter{s.snapshotter: s.backend})
	if err := s.meta.Init(ctx); err != nil {
		return errors.Join(fmt.Errorf("cannot prepare image metadata: %w", err), s.closeDatabases())
	}
	s.content = s.meta.ContentStore()
	s.images = metadata.NewImageStore(s.meta)
	s.leases = metadata.NewLeaseManager(s.meta)
	s.snapshots = s.meta.Snapshotter(s.snapshotter)
	s.applier = applier{Applier: apply.NewFileSystemApplier(s.content), blobs: s.content}
	return nil
}

// recover releases the leases of a predecessor that crashed, and reads the names. The
// file lock is held, so that every lease is a predecessor's.
func (s *Store) recover(ctx context.Context) error {
	held, err := s.leases.List(ctx)
	if err != nil {
		return fmt.Errorf("cannot list leases: %w", err)
	}
	for _, l := range held {
		if err := s.leases.Delete(ctx, l); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("cannot release lease %s: %w", l.ID, err)
		}
	}
	if c, ok := s.backend.(snapshots.Cleaner); ok {
		if err := c.Cleanup(ctx); err != nil {
			return fmt.Errorf("cannot clean up snapshots: %w", err)
		}
	}
	return s.refresh(ctx)
}

// Close ends the collection in the background, waits for it and closes the databases. Files
// that are being deleted are left to the next store. No other method may run meanwhile or
// afterwards. Mounts of root file systems stay.
func (s *Store) Close() error {
	s.collector.stop()
	if s.deleter != nil {
		s.deleter.stop()
	}
	return s.closeDatabases()
}

func (s *Store) closeDatabases() error {
	err := errors.Join(s.backend.Close(), s.meta.Close())
	if c, ok := s.content.(io.Closer); ok {
		err = errors.Join(err, c.Close())
	}
	return err
}

// Snapshotter is the name of the snapshotter in use: "overlayfs" or "native".
func (s *Store) Snapshotter() string { return s.snapshotter }

// scope puts the store's namespace and log into ctx, where containerd's
// libraries look for them.
func (s *Store) scope(ctx context.Context) context.Context {
	return log.WithLogger(namespaces.WithNamespace(ctx, s.namespace), s.log)
}
