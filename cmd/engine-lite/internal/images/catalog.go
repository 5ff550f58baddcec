package images

import (
	"context"
	"fmt"
	"slices"
	"strings"

	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// catalog is an immutable view of all image records and of the images that were read
// for them: Resolve needs no I/O. Only edit replaces it.
type catalog struct {
	byName   map[string]*record
	byID     map[digest.Digest][]*record
	byDigest map[digest.Digest]*record
	byTarget map[digest.Digest]*Image
	ids      []string // hex digits of byID's keys, sorted
}

func newCatalog(size int) *catalog {
	return &catalog{
		byName:   make(map[string]*record, size),
		byID:     make(map[digest.Digest][]*record, size),
		byDigest: make(map[digest.Digest]*record, 2*size),
		byTarget: make(map[digest.Digest]*Image, size),
	}
}

// record is one name and its image. The name is nil for an untagged image; the image
// is nil if its content couldn't be read.
type record struct {
	ctrimages.Image
	named reference.Named
	image *Image
}

// Resolve finds an image by name[:tag], name@digest, id, or the unique start
// of an id. The errors are NotFound, and InvalidArgument if ref is malformed
// or the start of several ids. It does no I/O.
func (s *Store) Resolve(_ context.Context, ref string) (Image, error) {
	rec, err := s.names.Load().find(ref)
	if err != nil {
		return Image{}, err
	}
	return *rec.image, nil
}

// find returns the record that ref means. The record has an image.
func (c *catalog) find(ref string) (*record, error) {
	if d, ok := fullDigest(ref); ok {
		return c.findDigest(d, ref)
	}
	named, nameErr := parseName(ref)
	if nameErr == nil {
		if rec := c.findName(named); rec != nil {
			return rec.readable()
		}
	}
	if prefix, ok := idPrefix(ref); ok {
		return c.findPrefix(prefix, ref)
	}
	if nameErr != nil {
		return nil, nameErr
	}
	return nil, noSuchImage(reference.FamiliarString(named))
}

func (c *catalog) findName(named reference.Named) *record {
	if rec := c.byName[named.String()]; rec != nil {
		return rec
	}
	digested, ok := named.(reference.Digested)
	if !ok {
		return nil
	}
	for _, rec := range c.byName {
		if rec.named != nil && rec.named.Name() == named.Name() && rec.isDigest(digested.Digest()) {
			return rec
		}
	}
	return nil
}

func (c *catalog) findDigest(d digest.Digest, ref string) (*record, error) {
	if recs := c.byID[d]; len(recs) > 0 {
		return recs[0], nil
	}
	if rec := c.byDigest[d]; rec != nil {
		return rec.readable()
	}
	return nil, noSuchImage(ref)
}

func (c *catalog) findPrefix(prefix, ref string) (*record, error) {
	i, _ := slices.BinarySearch(c.ids, prefix)
	if i == len(c.ids) || !strings.HasPrefix(c.ids[i], prefix) {
		return nil, noSuchImage(ref)
	}
	if i+1 < len(c.ids) && strings.HasPrefix(c.ids[i+1], prefix) {
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "image id %q is the start of several ids", ref)
	}
	return c.byID[digest.NewDigestFromEncoded(digest.SHA256, c.ids[i])][0], nil
}

func (r *record) readable() (*record, error) {
	if r.image == nil {
		return nil, classed.Errorf(errdefs.ErrNotFound, "content of image %s is missing or damaged", r.Name)
	}
	return r, nil
}

func (r *record) isDigest(d digest.Digest) bool {
	return r.Target.Digest == d || r.image != nil && r.image.Manifest.Digest == d
}

// tag reports whether the record is a name with a tag.
func (r *record) tag() bool {
	_, ok := r.named.(reference.Tagged)
	return ok
}

func noSuchImage(ref string) error {
	return classed.Errorf(errdefs.ErrNotFound, "No such image: %s", ref)
}

// edit runs change, one change of names at a time. Then it reads the names again, also
// if change failed halfway.
func (s *Store) edit(ctx context.Context, change func(ctx context.Context) error) error {
	leave, err := s.edits.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	err = change(ctx)
	if rerr := s.refresh(context.WithoutCancel(ctx)); err == nil {
		err = rerr
	}
	return err
}

// refresh reads all records into a new catalog. The caller is in edit, or
// alone.
func (s *Store) refresh(ctx context.Context) error {
	list, err := s.images.List(ctx)
	if err != nil {
		return fmt.Errorf("cannot list images: %w", err)
	}
	old := s.names.Load()
	next := newCatalog(len(list))
	for _, img := range list {
		rec := &record{Image: img, image: s.derived(ctx, old, next, img)}
		if rec.named, err = parseRecordName(img.Name); err != nil {
			s.log.WithError(err).WithField("image", img.Name).Warn(
				"the name of an image is malformed; lists leave the image out")
			continue
		}
		next.add(rec)
	}
	next.finish()
	s.names.Store(next)
	return nil
}

// derived returns the image of a record, and reads it if it isn't known yet; nil if
// it can't be read.
func (s *Store) derived(ctx context.Context, old, next *catalog, img ctrimages.Image) *Image {
	if known := next.byTarget[img.Target.Digest]; known != nil {
		return known
	}
	if old != nil && old.byTarget[img.Target.Digest] != nil {
		return old.byTarget[img.Target.Digest]
	}
	derived, err := s.derive(ctx, img.Target, s.platform)
	if err != nil {
		s.log.WithError(err).WithField("image", img.Name).Warn("cannot read an image; the image can only be removed")
		return nil
	}
	return derived
}

func (c *catalog) add(rec *record) {
	c.byName[rec.Name] = rec
	c.byDigest[rec.Target.Digest] = rec
	if rec.image == nil {
		return
	}
	c.byDigest[rec.image.Manifest.Digest] = rec
	c.byID[rec.image.ID] = append(c.byID[rec.image.ID], rec)
	c.byTarget[rec.Target.Digest] = rec.image
}

// finish gives every record an image of its own, with all names of that image and all its content.
func (c *catalog) finish() {
	for id, recs := range c.byID {
		c.ids = append(c.ids, id.Encoded())
		names, digests := familiarNames(recs)
		content := contentOf(recs)
		for _, rec := range recs {
			img := *rec.image
			img.Names, img.Digests, img.Updated, img.Content = names, digests, rec.UpdatedAt, content
			rec.image = &img
		}
	}
	slices.Sort(c.ids)
}

// contentOf lists the blobs of one image's records, each once: there may be several indexes above one manifest.
func contentOf(recs []*record) []ocispec.Descriptor {
	var list []ocispec.Descriptor
	for _, rec := range recs {
		for _, blob := range rec.image.Content {
			if !slices.ContainsFunc(list, func(b ocispec.Descriptor) bool { return b.Digest == blob.Digest }) {
				list = append(list, blob)
			}
		}
	}
	return list
}

// familiarNames lists the name:tag and name@digest references of one image's
// records, each sorted and once.
func familiarNames(recs []*record) (names, digests []string) {
	names, digests = []string{}, []string{}
	for _, rec := range recs {
		if rec.named == nil {
			continue
		}
		if rec.tag() {
			names = append(names, reference.FamiliarString(rec.named))
		}
		digests = append(digests, reference.FamiliarName(rec.named)+"@"+rec.Target.Digest.String())
	}
	slices.Sort(names)
	slices.Sort(digests)
	return names, slices.Compact(digests)
}
