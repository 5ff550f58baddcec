// Package imagemounts mounts images into containers: --mount type=image.
//
// A container gets a view of each image when it is created, and has that until it is removed, even if the image is
// removed: a container can be started again as long as it is there. A view is mounted for each run, and for a copy.
package imagemounts

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mountpoints"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// Images keep the views. RemoveRootfs of *images.Store removes them.
type Images interface {
	// PrepareView and ViewMounts make a view, and say how it is mounted. A container numbers its views from 0 on.
	PrepareView(ctx context.Context, containerID string, n int, imageID string) error
	ViewMounts(ctx context.Context, containerID string, n int) ([]mount.Mount, error)
}

// Mounts is the images that containers have mounted. Its methods may be called from any goroutine; those of one
// container are called one after the other.
type Mounts struct {
	images Images
	places *mountpoints.Dir
}

var _ resources.Provider = (*Mounts)(nil)

// Open returns the mounts of images, which are made below a directory. The directory is made where it is missing.
func Open(from Images, dir string) (*Mounts, error) {
	places, err := mountpoints.Open(dir, nil)
	return &Mounts{from, places}, err
}

// Prepare gives a new container its views. They go with the container's root filesystem. Errors: NotFound for an image
// that was removed meanwhile.
func (m *Mounts) Prepare(ctx context.Context, r *record.Record) error {
	return each(r, func(n int, of record.Mount) error {
		return m.images.PrepareView(ctx, r.ID, n, of.Source)
	})
}

// each calls fn with the images that a container has mounted, and their numbers.
func each(r *record.Record, fn func(n int, of record.Mount) error) error {
	n := 0
	for _, of := range r.Mounts {
		if of.Type != record.MountImage {
			continue
		}
		if err := fn(n, of); err != nil {
			return err
		}
		n++
	}
	return nil
}

// Kind implements resources.Provider.
func (m *Mounts) Kind() string { return "images" }

// Acquire mounts a container's images, and returns the path of each.
func (m *Mounts) Acquire(ctx context.Context, r *record.Record, h resources.Holder) (resources.Contribution, error) {
	c := resources.Contribution{Sources: map[string]string{}}
	err := each(r, func(n int, of record.Mount) (err error) {
		c.Sources[of.Destination], err = m.mount(ctx, of, h, n)
		return err
	})
	if err != nil {
		return resources.Contribution{}, errors.Join(err, m.places.Release(h))
	}
	return c, nil
}

// mount returns the path of the host where an image is mounted, or the part of it that the container wants.
func (m *Mounts) mount(ctx context.Context, of record.Mount, h resources.Holder, n int) (string, error) {
	view, err := m.images.ViewMounts(ctx, h.Container, n)
	if err != nil {
		return "", err
	}
	at, err := m.places.Place(h, strconv.Itoa(n), true)
	if err != nil {
		return "", err
	}
	if err := mount.All(view, at); err != nil {
		return "", fmt.Errorf("cannot mount image %s: %w", of.Name, err)
	}
	if of.Subpath == "" {
		return at, nil
	}
	return m.places.BindPart(at, of.Subpath, h, strconv.Itoa(n)+".part")
}

// Free does nothing: nobody else can take a container's view.
func (m *Mounts) Free(context.Context, resources.Holder) error { return nil }

// Dispose unmounts a holder's images.
func (m *Mounts) Dispose(_ context.Context, h resources.Holder) error { return m.places.Release(h) }

// Sweep unmounts the images of holders that are not alive.
func (m *Mounts) Sweep(_ context.Context, alive func(resources.Holder) bool) error {
	return m.places.Sweep(alive)
}

// Reserve does nothing: the record has the images. Forget, Forgotten, Started, Ended and Adopt neither: views go with the
// container's root filesystem, nobody is told of a mount, and what is mounted is found by its place.
func (m *Mounts) Reserve(*store.Tx, *record.Record) error { return nil }

// Forget implements resources.Provider.
func (m *Mounts) Forget(*store.Tx, *record.Record) error { return nil }

// Forgotten implements resources.Provider.
func (m *Mounts) Forgotten(context.Context, *record.Record) error { return nil }

// Started implements resources.Provider.
func (m *Mounts) Started(*store.Tx, *record.Record) error { return nil }

// Ended implements resources.Provider.
func (m *Mounts) Ended(*store.Tx, *record.Record) error { return nil }

// Adopt implements resources.Provider.
func (m *Mounts) Adopt(context.Context, *record.Record, resources.Holder) error { return nil }
