package images

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Save writes the images that refs mean as one archive that Load, and Docker,
// can read. A reference by name keeps that name, one by id has none. Nothing
// is written if a reference is unknown (NotFound). It returns the image of each
// reference, where a name without a tag stands for all its tags.
func (s *Store) Save(ctx context.Context, refs []string, w io.Writer) ([]digest.Digest, error) {
	ctx, release, err := s.hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	ids, targets, names, err := s.saved(refs)
	if err != nil {
		return nil, err
	}
	options := []archive.ExportOpt{archive.WithPlatform(s.platform), archive.WithSkipMissing(s.content)}
	for _, target := range targets {
		options = append(options, archive.WithManifest(target, names[target.Digest]...))
	}
	if err := archive.Export(ctx, s.content, w, options...); err != nil {
		return nil, fmt.Errorf("cannot save images: %w", err)
	}
	return ids, nil
}

// saved returns the images that refs mean, their targets, each once, and the names to save for each target.
func (s *Store) saved(refs []string) (
	ids []digest.Digest, targets []ocispec.Descriptor, names map[digest.Digest][]string, err error,
) {
	c := s.names.Load()
	names = make(map[digest.Digest][]string)
	for _, ref := range c.withTags(refs) {
		rec, err := c.find(ref)
		if err != nil {
			return nil, nil, nil, err
		}
		ids = append(ids, rec.image.ID)
		d := rec.Target.Digest
		if _, known := names[d]; !known {
			targets = append(targets, rec.Target)
			names[d] = nil
		}
		if named, err := parseName(ref); err == nil && c.findName(named) == rec {
			if _, tagged := named.(reference.Tagged); tagged {
				names[d] = append(names[d], named.String())
			}
		}
	}
	return ids, targets, names, nil
}

// withTags replaces each name without a tag by all tags of that name, in order. A reference that is no such name stays.
func (c *catalog) withTags(refs []string) []string {
	var list []string
	for _, ref := range refs {
		named, err := reference.ParseNormalizedNamed(ref)
		if err != nil || !reference.IsNameOnly(named) {
			list = append(list, ref)
			continue
		}
		var tags []string
		for _, rec := range c.byName {
			if rec.named == nil || rec.named.Name() != named.Name() {
				continue
			}
			if _, tagged := rec.named.(reference.Tagged); tagged {
				tags = append(tags, rec.named.String())
			}
		}
		if len(tags) == 0 {
			tags = []string{ref}
		}
		slices.Sort(tags)
		list = append(list, tags...)
	}
	return list
}
