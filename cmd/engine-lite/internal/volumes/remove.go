package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/deletion"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mountpoints"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/journal"
)

// remove removes a volume and deletes its content. Errors: NotFound, and Conflict for one that a container has.
func (l *Local) remove(ctx context.Context, name string) error {
	unlock, err := l.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	err = l.store.Update(ctx, func(tx *store.Tx) error {
		v, err := load(tx, name)
		if errdefs.IsDataLoss(err) { // it can be removed all the same
			v, err = Volume{Name: name, Driver: driverLocal}, nil
		}
		if err != nil {
			return err
		}
		ids, err := users(tx, name)
		if err != nil {
			return err
		}
		if len(ids) > 0 {
			return classed.Errorf(errdefs.ErrConflict,
				"remove %s: volume is in use - [%s]", name, strings.Join(ids, ", "))
		}
		return bury(tx, v)
	})
	if err != nil {
		return err
	}
	l.did("remove: record")
	l.settleOrLog(ctx, name)
	return nil
}

// settleOrLog settles a volume that was removed. The caller holds the lock of the name.
func (l *Local) settleOrLog(ctx context.Context, name string) {
	if err := l.settleAndDelete(context.WithoutCancel(ctx), name); err != nil {
		log.WithError(err).WithField("volume", name).Warn(
			"the volume was removed, and its directory was not; the next use of the name or the next start of " +
				"the engine does that")
	}
}

// settleAndDelete also deletes what settle has put aside.
func (l *Local) settleAndDelete(ctx context.Context, name string) error {
	tokens, err := l.settle(ctx, name)
	if err != nil {
		return err
	}
	for _, token := range tokens {
		if err := l.discard(l.removed(token)); err != nil {
			return err
		}
	}
	return nil
}

// settle puts aside what removed volumes of a name have left, and returns the tokens of the removals. The caller holds the
// lock of the name. While there is a removal, no volume of that name has been used since: whoever uses one settles first. So
// the directory with the name is that of the removed one.
func (l *Local) settle(ctx context.Context, name string) (tokens []string, err error) {
	if err := l.store.View(func(s *journal.Snapshot) error {
		return Removals.ForEach(s, func(token string, r Removed) error {
			if r.Name == name {
				tokens = append(tokens, token)
			}
			return nil
		})
	}); err != nil || len(tokens) == 0 {
		return nil, err
	}
	if err := mountpoints.DetachBelow(l.dir(name)); err != nil {
		return nil, err
	}
	for _, token := range tokens {
		if err := os.Rename(l.dir(name), l.removed(token)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("directory of a removed volume: %w", err)
		}
		l.did("remove: renamed")
	}
	// After a power cut, the removal must not be gone while the directory is back.
	if err := errors.Join(syncDir(filepath.Join(l.root, removedDir)), syncDir(l.root)); err != nil {
		return nil, err
	}
	if err := l.store.Update(ctx, func(tx *store.Tx) error {
		for _, token := range tokens {
			Removals.Delete(tx, token)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	l.did("remove: settled")
	return tokens, nil
}

func (l *Local) removed(token string) string { return filepath.Join(l.root, removedDir, token) }

// discard deletes a directory that the engine has put aside, and nothing that is mounted in it. It ends with
// the engine, and the next one goes on.
func (l *Local) discard(path string) error {
	if err := mountpoints.DetachBelow(path); err != nil {
		return err
	}
	return deletion.Tree(l.ends, path)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("directory of volumes: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// prepare makes the directory of a volume where it is missing. The caller holds the lock of the name.
func (l *Local) prepare(ctx context.Context, name string) error {
	if err := l.settleAndDelete(ctx, name); err != nil {
		return err
	}
	if err := makeDir(l.dir(name), 0o701); err != nil {
		return err
	}
	l.did("create: directory")
	return makeDir(l.data(name), 0o755)
}

// Forget removes the container's anonymous volumes with it, where the record says so and no other container has them.
func (l *Local) Forget(tx *store.Tx, r *record.Record) error {
	if !r.RemoveVolumes {
		return nil
	}
	for _, name := range anonymousOf(r) {
		v, err := load(tx, name)
		if errdefs.IsNotFound(err) || errdefs.IsDataLoss(err) {
			continue // it was removed by name, or a newer release has it
		}
		if err != nil {
			return err
		}
		ids, err := users(tx, name)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(ids, func(id string) bool { return id != r.ID }) {
			continue
		}
		if err := bury(tx, v); err != nil {
			return err
		}
	}
	return nil
}

// Forgotten deletes what the volumes that Forget has removed have on the disk.
func (l *Local) Forgotten(ctx context.Context, r *record.Record) error {
	if !r.RemoveVolumes {
		return nil
	}
	var errs []error
	for _, name := range anonymousOf(r) {
		unlock, err := l.lock(ctx, name)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, l.settleAndDelete(ctx, name))
		unlock()
	}
	return errors.Join(errs...)
}

// anonymousOf are the names of the volumes of a container that nobody has named.
func anonymousOf(r *record.Record) (names []string) {
	for _, m := range r.Mounts {
		if m.Type == record.MountVolume && m.Anonymous && !slices.Contains(names, m.Name) {
			names = append(names, m.Name)
		}
	}
	return names
}
