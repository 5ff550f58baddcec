// Package volumes is the volumes of the driver local, which is the only driver, and the API's part about them.
//
// A volume is a record in the journal and a directory, ROOT/volumes/NAME/_data. The record decides: a volume exists if
// it has a record. The directory follows:
//
//	create  record + event create                        -> directory
//	remove  record gone, removal written + event destroy -> directory renamed to .removed/TOKEN -> removal gone
//	        -> directory deleted
//	fill    image's content in .filling/TOKEN            -> record (filling) -> entries renamed into the volume
//	        -> record (filled)
//
// So an engine that is killed leaves a volume as it was, or gone. Whoever uses a volume first makes a directory that is
// missing, and moves that of a removed volume of the same name out of the way. A directory that has neither a record
// nor a removal is not of this engine's making. Sweep leaves such a directory alone, and a volume that is created with
// its name takes it over, as in dockerd: an operator may have restored it.
//
// Who uses a volume is read from the records of containers. What is mounted is read from the kernel. A holder is a run
// of a container, or a lease; only the holders of volumes that the engine has to mount are kept, in memory.
//
// Names that begin with a dot are no names of volumes. These directories of ROOT/volumes have them:
//
//	.removed  what is left of removed volumes, by the token of the removal
//	.filling  content on its way into a volume, by the token of the fill
//	.mounts   parts of volumes that are mounted for a holder, by the holder
package volumes

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mountpoints"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/treesize"
)

// Local is the volumes of one engine. Its methods may be called from any goroutine.
type Local struct {
	store *store.Store
	root  string
	sizes *treesize.Meter
	// places have parts of volumes.
	places *mountpoints.Dir
	ends   context.Context // done when the engine ends, which deletions do not hold up
	// step is called after each step that a crash can follow; nil but in tests.
	step func(name string)

	mu    sync.Mutex
	names map[string]*nameLock
	// held are the volumes that a holder uses and that the engine has to mount.
	held map[resources.Holder]map[string]bool
}

var _ resources.Provider = (*Local)(nil)

// walksAtOnce bounds how many volumes are measured at the same time.
const walksAtOnce = 2

// Open returns the volumes below a directory, which it makes where that is missing. Deletions end with ends. The caller
// closes the store, and calls Sweep before it serves requests.
func Open(ends context.Context, s *store.Store, root string) (*Local, error) {
	l := &Local{
		store: s, ends: ends, root: root, sizes: treesize.NewMeter(walksAtOnce, treesize.Lengths), names: map[string]*nameLock{}, held: map[resources.Holder]map[string]bool{},
	}
	if err := makeDir(root, 0o701); err != nil { // as dockerd: containers' users reach volumes, and cannot list them
		return nil, err
	}
	for _, name := range []string{removedDir, fillingDir} {
		if err := makeDir(filepath.Join(root, name), 0o700); err != nil {
			return nil, err
		}
	}
	var err error
	l.places, err = mountpoints.Open(filepath.Join(root, mountsDir), func(step string) { l.did("acquire: " + step) })
	return l, err
}

const (
	dataDir    = "_data"
	removedDir = ".removed"
	fillingDir = ".filling"
	mountsDir  = ".mounts"
)

// dir is a volume's directory.
func (l *Local) dir(name string) string { return filepath.Join(l.root, name) }

// Mountpoint is the path of the host where a volume's content is, or will be.
func (l *Local) Mountpoint(name string) string { return l.data(name) }

// data is the directory of a volume's content, which is Docker's Mountpoint.
func (l *Local) data(name string) string { return filepath.Join(l.root, name, dataDir) }

// did reports a step to tests.
func (l *Local) did(step string) {
	if l.step != nil {
		l.step(step)
	}
}

// makeDir makes a directory with exactly these permissions. One that is there stays as it is.
func makeDir(path string, mode os.FileMode) error {
	err := os.Mkdir(path, mode)
	if os.IsExist(err) {
		return nil
	}
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		return fmt.Errorf("directory of volumes: %w", err)
	}
	return nil
}

// token returns a name that nobody has.
func token() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	return hex.EncodeToString(b)
}

// nameLock is held by whoever changes what one volume has on the disk.
type nameLock struct {
	held chan struct{}
	uses int // who holds it or waits for it
}

// lock waits for the lock of a volume's name, which may be that of no volume. It fails with ctx's error. Nobody holds
// the locks of two names.
func (l *Local) lock(ctx context.Context, name string) (unlock func(), err error) {
	l.mu.Lock()
	n := l.names[name]
	if n == nil {
		n = &nameLock{held: make(chan struct{}, 1)}
		l.names[name] = n
	}
	n.uses++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if n.uses--; n.uses == 0 {
			delete(l.names, name)
		}
	}
	select {
	case n.held <- struct{}{}:
		return func() { <-n.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, fmt.Errorf("volume %s is busy: %w", name, ctx.Err())
	}
}
