package volumes

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mountpoints"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/journal"
)

// Sweep ends what an earlier engine left: mounts of holders that are not alive, removals, and copies that were not
// finished. A volume that options mount has such a copy until it is used next. What is to be deleted is put aside: Clean
// deletes it.
func (l *Local) Sweep(ctx context.Context, alive func(resources.Holder) bool) error {
	return errors.Join(l.places.Sweep(alive), l.sweepHeld(ctx, alive), l.sweepRecords(ctx), l.sweepFilling())
}

// sweepHeld frees the volumes of holders that are gone.
func (l *Local) sweepHeld(ctx context.Context, alive func(resources.Holder) bool) error {
	l.mu.Lock()
	var gone []resources.Holder
	for h := range l.held {
		if !alive(h) {
			gone = append(gone, h)
		}
	}
	l.mu.Unlock()
	var errs []error
	for _, h := range gone {
		errs = append(errs, l.Free(ctx, h))
	}
	return errors.Join(errs...)
}

// sweepRecords settles removed volumes, unmounts volumes that nobody holds, and finishes copies.
func (l *Local) sweepRecords(ctx context.Context) error {
	var names []string
	err := l.store.View(func(s *journal.Snapshot) error {
		return errors.Join(
			Removals.ForEachOr(s, func(_ string, r Removed) error {
				names = append(names, r.Name)
				return nil
			}, passOver),
			Records.ForEachOr(s, func(name string, v Volume) error {
				if v.mounted() || v.Fill != nil {
					names = append(names, name)
				}
				return nil
			}, passOver))
	})
	errs := []error{err}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		errs = append(errs, l.sweepName(ctx, name))
	}
	return errors.Join(errs...)
}

// passOver leaves a record alone that cannot be read: a newer release may have written it.
func passOver(name string, _ []byte, why error) error {
	log.WithError(why).WithField("volume", name).Warn("the record of a volume cannot be read; it stays as it is")
	return nil
}

func (l *Local) sweepName(ctx context.Context, name string) error {
	unlock, err := l.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := l.settle(ctx, name); err != nil {
		return err
	}
	v, found, err := l.find(name)
	switch {
	case err != nil || !found:
		return err
	case v.mounted() && !l.others(name, resources.Holder{}):
		return mountpoints.Detach(l.data(name))
	case v.mounted() || v.Fill == nil:
		return nil
	}
	if err := l.prepare(ctx, name); err != nil {
		return err
	}
	_, err = l.finish(ctx, v)
	return err
}

// find is get, except that there may be no such volume.
func (l *Local) find(name string) (v Volume, found bool, err error) {
	err = l.store.View(func(s *journal.Snapshot) error {
		v, found, err = Records.Get(s, name)
		return err
	})
	return v, found, err
}

// Clean deletes what was put aside, which takes as long as there are files, and so goes on while the engine serves. It
// ends with the engine, and the next one goes on.
func (l *Local) Clean() error {
	var errs []error
	for _, token := range l.entries(removedDir) {
		if l.ends.Err() != nil {
			break
		}
		errs = append(errs, l.discard(l.removed(token)))
	}
	return errors.Join(errs...)
}

// sweepFilling puts content aside that no record waits for.
func (l *Local) sweepFilling() error {
	wanted := map[string]bool{}
	unread := false
	err := l.store.View(func(s *journal.Snapshot) error {
		return Records.ForEachOr(s, func(_ string, v Volume) error {
			if v.Fill != nil {
				wanted[v.Fill.Token] = true
			}
			return nil
		}, func(string, []byte, error) error { unread = true; return nil })
	})
	if err != nil || unread { // a record that cannot be read may wait for any content
		return err
	}
	var errs []error
	for _, token := range l.entries(fillingDir) {
		if !wanted[token] {
			errs = append(errs, os.Rename(filepath.Join(l.root, fillingDir, token), l.removed(token)))
		}
	}
	return errors.Join(errs...)
}

// entries are the names in one of the engine's own directories; none where it cannot be read, which is logged.
func (l *Local) entries(dir string) (names []string) {
	list, err := os.ReadDir(filepath.Join(l.root, dir))
	if err != nil {
		log.WithError(err).Warn("sweep of volumes: cannot read a directory of the engine; leftovers in it stay")
	}
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	return names
}
