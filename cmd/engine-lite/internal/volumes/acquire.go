package volumes

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mountpoints"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// Kind implements resources.Provider.
func (l *Local) Kind() string { return "volumes" }

// Acquire makes the volumes of a container ready, and returns the path of each. A directory that is missing is made
// again, a file system that options name is mounted if nobody else has done so, and a copy that an earlier engine left is
// finished.
func (l *Local) Acquire(ctx context.Context, r *record.Record, h resources.Holder) (resources.Contribution, error) {
	c := resources.Contribution{Sources: map[string]string{}}
	for n, m := range r.Mounts {
		if m.Type != record.MountVolume {
			continue
		}
		source, err := l.acquire(ctx, m, h, n)
		if err != nil {
			return resources.Contribution{}, errors.Join(err, l.Free(context.WithoutCancel(ctx), h))
		}
		c.Sources[m.Destination] = source
	}
	return c, nil
}

// acquire returns the path of the host for the mount with this number.
func (l *Local) acquire(ctx context.Context, m record.Mount, h resources.Holder, n int) (string, error) {
	unlock, err := l.lock(ctx, m.Name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := l.open(ctx, m.Name, h); err != nil {
		return "", err
	}
	if m.Subpath == "" {
		return l.data(m.Name), nil
	}
	return l.places.BindPart(l.data(m.Name), m.Subpath, h, strconv.Itoa(n))
}

// open makes a volume ready for a holder. The caller holds the lock of the name, and frees the holder also after an
// error.
func (l *Local) open(ctx context.Context, name string, h resources.Holder) (Volume, error) {
	v, err := l.get(name)
	if err != nil {
		return v, err
	}
	if err := l.prepare(ctx, name); err != nil {
		return v, err
	}
	if v.mounted() {
		l.hold(name, h)
		if err := mountOnce(ctx, v, l.data(name)); err != nil {
			return v, err
		}
		l.did("acquire: mounted")
	}
	if v.Fill != nil {
		return l.finish(ctx, v)
	}
	return v, nil
}

func (l *Local) hold(name string, h resources.Holder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[h] == nil {
		l.held[h] = map[string]bool{}
	}
	l.held[h][name] = true
}

// others tells whether a holder that is not this one has a volume that the engine mounts.
func (l *Local) others(name string, h resources.Holder) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for other, names := range l.held {
		if other != h && names[name] {
			return true
		}
	}
	return false
}

// Started appends an event for each volume that is mounted.
func (l *Local) Started(tx *store.Tx, r *record.Record) error {
	for _, m := range r.Mounts {
		if m.Type == record.MountVolume {
			tx.Append(event("mount", m.Name, map[string]string{
				"driver": m.Driver, "container": r.ID, "destination": m.Destination,
				"read/write": strconv.FormatBool(!m.ReadOnly), "propagation": m.Propagation,
			}))
		}
	}
	return nil
}

// Ended appends an event for each volume that is mounted no more.
func (l *Local) Ended(tx *store.Tx, r *record.Record) error {
	for _, m := range r.Mounts {
		if m.Type == record.MountVolume {
			tx.Append(event("unmount", m.Name, map[string]string{"driver": m.Driver, "container": r.ID}))
		}
	}
	return nil
}

// Free unmounts what nobody else has. It does nothing for volumes that are directories only.
func (l *Local) Free(ctx context.Context, h resources.Holder) error {
	errs := []error{l.places.Release(h)}
	l.mu.Lock()
	var names []string
	for name := range l.held[h] {
		names = append(names, name)
	}
	l.mu.Unlock()
	slices.Sort(names)
	for _, name := range names {
		errs = append(errs, l.release(ctx, name, h))
	}
	return errors.Join(errs...)
}

// release ends the use of a volume by a holder, which keeps it after an error.
func (l *Local) release(ctx context.Context, name string, h resources.Holder) error {
	unlock, err := l.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	if !l.others(name, h) {
		if err := mountpoints.Detach(l.data(name)); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held[h], name)
	if len(l.held[h]) == 0 {
		delete(l.held, h)
	}
	return nil
}

// Dispose removes what a failed Free may have left.
func (l *Local) Dispose(_ context.Context, h resources.Holder) error { return l.places.Release(h) }

// Adopt takes up the volumes of a run that goes on. They are mounted.
func (l *Local) Adopt(_ context.Context, r *record.Record, h resources.Holder) error {
	for _, m := range r.Mounts {
		if m.Type != record.MountVolume {
			continue
		}
		v, err := l.get(m.Name)
		if errdefs.IsNotFound(err) {
			continue // its data may be gone; the run goes on
		}
		if err != nil {
			return err
		}
		if v.mounted() {
			l.hold(m.Name, h)
		}
	}
	return nil
}
