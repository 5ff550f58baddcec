package images

import (
	"context"
	"fmt"

	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Tag gives the image source the name target ("name" or "name:tag"). Another image with
// that name loses it. The errors are NotFound and InvalidArgument.
func (s *Store) Tag(ctx context.Context, source, target string) error {
	named, err := parseTag(target)
	if err != nil {
		return err
	}
	return s.edit(s.scope(ctx), func(ctx context.Context) error {
		rec, err := s.names.Load().find(source)
		if err != nil {
			return err
		}
		return s.setName(ctx, named, rec.image)
	})
}

// publish gives img the names, or makes it an untagged image if there are none.
func (s *Store) publish(ctx context.Context, img *Image, names ...reference.Named) error {
	if len(names) == 0 {
		return s.edit(ctx, func(ctx context.Context) error {
			return s.keepUntagged(ctx, img.ID, img.Target)
		})
	}
	for _, named := range names {
		err := s.edit(ctx, func(ctx context.Context) error { return s.setName(ctx, named, img) })
		if err != nil {
			return err
		}
	}
	return nil
}

// setName moves a name to img; the caller is in edit. An image that loses its last name
// stays as an untagged one.
func (s *Store) setName(ctx context.Context, named reference.Named, img *Image) error {
	before := s.names.Load().byName[named.String()]
	if before != nil && before.Target.Digest == img.Target.Digest {
		return nil
	}
	if before != nil && before.image != nil && before.image.ID != img.ID {
		if err := s.keepUntagged(ctx, before.image.ID, before.Target, before.Name); err != nil {
			return err
		}
	}
	if err := s.putRecord(ctx, named.String(), img.Target); err != nil {
		return err
	}
	return s.dropUntagged(ctx, img.ID)
}

// keepUntagged makes a record without a name, unless another record keeps the image.
// Records whose names are in ignore don't count.
func (s *Store) keepUntagged(ctx context.Context, id digest.Digest, target ocispec.Descriptor, ignore ...string) error {
	ignored := make(map[string]bool, len(ignore))
	for _, name := range ignore {
		ignored[name] = true
	}
	for _, rec := range s.names.Load().byID[id] {
		if !ignored[rec.Name] {
			return nil
		}
	}
	return s.putRecord(ctx, untaggedPrefix+target.Digest.String(), target)
}

// dropUntagged removes the nameless records of an image that got a name.
func (s *Store) dropUntagged(ctx context.Context, id digest.Digest) error {
	for _, rec := range s.names.Load().byID[id] {
		if rec.named == nil {
			if err := s.dropRecord(ctx, rec.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) putRecord(ctx context.Context, name string, target ocispec.Descriptor) error {
	rec := ctrimages.Image{Name: name, Target: ocispec.Descriptor{
		MediaType: target.MediaType, Digest: target.Digest, Size: target.Size,
	}}
	_, err := s.images.Update(ctx, rec, "target")
	if errdefs.IsNotFound(err) {
		_, err = s.images.Create(ctx, rec)
	}
	if err != nil {
		return fmt.Errorf("cannot name image %s: %w", target.Digest, err)
	}
	return nil
}

func (s *Store) dropRecord(ctx context.Context, name string) error {
	if err := s.images.Delete(ctx, name); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("cannot remove image name %q: %w", name, err)
	}
	s.collector.request()
	return nil
}
