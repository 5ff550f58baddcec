package images

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/engine-lite/engine-lite/internal/classed"
)

const (
	// documentLimit bounds the bytes of a manifest, index or configuration
	// that are read into memory. Registries refuse manifests over 4 MiB.
	documentLimit = 8 << 20
	// nestingLimit bounds indexes that hold indexes.
	nestingLimit = 4
)

// derive reads the image behind target for a platform. The errors are NotFound
// if content is missing or nothing fits the platform, and InvalidArgument if
// the content makes no sense.
func (s *Store) derive(ctx context.Context, target ocispec.Descriptor, want platforms.MatchComparer) (*Image, error) {
	desc, err := s.pickManifest(ctx, target, want, nestingLimit)
	if err != nil {
		return nil, err
	}
	var manifest ocispec.Manifest
	if err := s.readDocument(ctx, desc, &manifest); err != nil {
		return nil, err
	}
	img := &Image{ID: manifest.Config.Digest, Target: target, Manifest: desc, Layers: manifest.Layers}
	if err := s.readDocument(ctx, manifest.Config, &img.Config); err != nil {
		return nil, err
	}
	if p := img.Config.Platform; p.Architecture != "" && !want.Match(p) {
		return nil, classed.Errorf(errdefs.ErrNotFound, "image %s is for %s", img.ID, platforms.Format(p))
	}
	diffIDs := img.Config.RootFS.DiffIDs
	if len(diffIDs) != len(img.Layers) {
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "image %s has %d layers but %d diff ids", img.ID, len(img.Layers), len(diffIDs))
	}
	for i, d := range diffIDs {
		if err := cmp.Or(d.Validate(), img.Layers[i].Digest.Validate()); err != nil {
			return nil, classed.Errorf(errdefs.ErrInvalidArgument, "image %s, layer %d: %v", img.ID, i, err)
		}
	}
	img.ChainID = identity.ChainID(diffIDs)
	img.Content, err = s.present(ctx, append([]ocispec.Descriptor{target, desc, manifest.Config}, img.Layers...))
	return img, err
}

// present returns the blobs that are here, each once.
func (s *Store) present(ctx context.Context, blobs []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	var here []ocispec.Descriptor
	known := make(map[digest.Digest]bool, len(blobs))
	for _, blob := range blobs {
		if known[blob.Digest] {
			continue
		}
		known[blob.Digest] = true
		_, err := s.content.Info(ctx, blob.Digest)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot find %s: %w", blob.Digest, err)
		}
		here = append(here, blob)
	}
	return here, nil
}

// pickManifest follows target to a manifest: of those whose content is here, the one
// that fits the platform best.
func (s *Store) pickManifest(ctx context.Context, target ocispec.Descriptor, want platforms.MatchComparer, depth int) (
	ocispec.Descriptor, error,
) {
	if ctrimages.IsManifestType(target.MediaType) {
		return target, nil
	}
	if !ctrimages.IsIndexType(target.MediaType) || depth == 0 {
		return ocispec.Descriptor{}, classed.Errorf(errdefs.ErrInvalidArgument, "%s has media type %q, not an image's", target.Digest, target.MediaType)
	}
	var index ocispec.Index
	if err := s.readDocument(ctx, target, &index); err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, desc := range byPreference(index.Manifests, want) {
		found, err := s.pickManifest(ctx, desc, want, depth-1)
		if err == nil {
			_, err = s.content.Info(ctx, found.Digest)
		}
		if err == nil || !errdefs.IsNotFound(err) {
			return found, err
		}
	}
	return ocispec.Descriptor{}, classed.Errorf(errdefs.ErrNotFound, "%s has no image for this platform", target.Digest)
}

// byPreference returns the descriptors that fit the platform, best first. Those without
// a platform fit too, and come last. Attestations never fit: their platform is
// unknown/unknown.
func byPreference(descs []ocispec.Descriptor, want platforms.MatchComparer) []ocispec.Descriptor {
	var fits []ocispec.Descriptor
	for _, d := range descs {
		if d.Platform == nil || want.Match(*d.Platform) {
			fits = append(fits, d)
		}
	}
	slices.SortStableFunc(fits, func(a, b ocispec.Descriptor) int {
		switch {
		case a.Platform == nil || b.Platform == nil:
			return cmp.Compare(boolRank(a.Platform == nil), boolRank(b.Platform == nil))
		case want.Less(*a.Platform, *b.Platform):
			return -1
		case want.Less(*b.Platform, *a.Platform):
			return 1
		}
		return 0
	})
	return fits
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func documentTooLarge(desc ocispec.Descriptor, size int64) error {
	return classed.Errorf(errdefs.ErrInvalidArgument, "%s of %s has %d bytes, more than %d", desc.MediaType, desc.Digest, size, documentLimit)
}

// readDocument decodes a JSON blob of at most documentLimit bytes.
func (s *Store) readDocument(ctx context.Context, desc ocispec.Descriptor, into any) error {
	info, err := s.content.Info(ctx, desc.Digest)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", desc.Digest, err)
	}
	if info.Size > documentLimit {
		return documentTooLarge(desc, info.Size)
	}
	data, err := content.ReadBlob(ctx, s.content, ocispec.Descriptor{Digest: desc.Digest, Size: info.Size})
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", desc.Digest, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return classed.Errorf(errdefs.ErrInvalidArgument, "%s %s is not valid: %v", desc.MediaType, desc.Digest, err)
	}
	return nil
}
