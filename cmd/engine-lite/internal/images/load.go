package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// Load reads an archive of images in the form of "docker save" or of an OCI image
// layout, plain or compressed with gzip, bzip2 or zstd. It unpacks and names the images
// for this platform, and passes over others. The error is InvalidArgument if the archive
// is damaged or has no image for this platform; then nothing of it stays.
func (s *Store) Load(ctx context.Context, r io.Reader) ([]LoadedImage, error) {
	ctx, release, err := s.hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	plain, err := Decompress(r)
	if err != nil {
		return nil, badContent(ctx, fmt.Errorf("cannot read image archive: %w", err))
	}
	defer plain.Close()
	index, err := archive.ImportIndex(ctx, s.operationStore(ctx), plain)
	if err != nil {
		return nil, badContent(ctx, fmt.Errorf("cannot read image archive: %w", err))
	}
	found, err := s.readArchive(ctx, index)
	if err != nil {
		return nil, badContent(ctx, fmt.Errorf("cannot read image archive: %w", err))
	}
	return s.publishLoaded(ctx, found)
}

// archived is one image of an archive and the names that it has there.
type archived struct {
	image *Image
	names []reference.Named
}

// readArchive reads and unpacks the images of an archive's index.
func (s *Store) readArchive(ctx context.Context, index ocispec.Descriptor) ([]*archived, error) {
	var doc ocispec.Index
	if err := s.readDocument(ctx, index, &doc); err != nil {
		return nil, err
	}
	var found []*archived
	known := make(map[digest.Digest]*archived)
	for _, desc := range doc.Manifests {
		if desc.Platform != nil && desc.Platform.Architecture != "" && !s.platform.Match(*desc.Platform) {
			continue
		}
		a := known[desc.Digest]
		if a == nil {
			img, err := s.readArchived(ctx, desc)
			if err != nil {
				return nil, err
			}
			a = &archived{image: img}
			known[desc.Digest] = a
			found = append(found, a)
		}
		if named := archivedName(desc.Annotations); named != nil {
			a.names = append(a.names, named)
		}
	}
	if len(found) == 0 {
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "no image for this platform in it")
	}
	return found, nil
}

func (s *Store) readArchived(ctx context.Context, desc ocispec.Descriptor) (*Image, error) {
	img, err := s.derive(ctx, desc, s.platform)
	if err != nil {
		return nil, err
	}
	if err := s.link(ctx, desc); err != nil {
		return nil, err
	}
	return img, s.unpack(ctx, img)
}

// link makes every blob below desc that is here refer to its children: a record of
// desc then keeps all of them.
func (s *Store) link(ctx context.Context, desc ocispec.Descriptor) error {
	children := func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if d.Digest != desc.Digest {
			if _, err := s.content.Info(ctx, d.Digest); errdefs.IsNotFound(err) {
				return nil, ctrimages.ErrSkipDesc
			}
		}
		return ctrimages.Children(ctx, s.content, d)
	}
	labelled := ctrimages.SetChildrenLabels(s.content, ctrimages.FilterPlatforms(children, s.platform))
	if err := ctrimages.Walk(ctx, labelled, desc); err != nil {
		return fmt.Errorf("cannot link the content of %s: %w", desc.Digest, err)
	}
	return nil
}

// archivedName reads the name that an archive's index gives a manifest; nil if there
// is none. OCI's own annotation is often only a tag, and a tag alone is no name.
func archivedName(annotations map[string]string) reference.Named {
	name := annotations[ctrimages.AnnotationImageName]
	if name == "" {
		name = annotations[ocispec.AnnotationRefName]
		if !strings.ContainsAny(name, ":/") {
			return nil
		}
	}
	named, err := parseTag(name)
	if err != nil {
		return nil
	}
	return named
}

func (s *Store) publishLoaded(ctx context.Context, found []*archived) ([]LoadedImage, error) {
	loaded := make([]LoadedImage, 0, len(found))
	for _, a := range found {
		if err := s.publish(ctx, a.image, a.names...); err != nil {
			return loaded, err
		}
		l := LoadedImage{ID: a.image.ID}
		for _, named := range a.names {
			l.Names = append(l.Names, reference.FamiliarString(named))
		}
		loaded = append(loaded, l)
	}
	return loaded, nil
}

// operationStore is the content store for one operation. The names of its unfinished
// blobs begin with the id of the operation's lease: the library names an archive's blobs
// by their paths, and would continue a blob that another archive left unfinished under
// the same path.
func (s *Store) operationStore(ctx context.Context) content.Store {
	id, _ := leases.FromContext(ctx)
	return prefixedStore{Store: s.content, prefix: id + "-"}
}

// prefixedStore puts a prefix before the names of unfinished blobs.
type prefixedStore struct {
	content.Store
	prefix string
}

// Writer begins a blob, or continues one of this prefix.
func (p prefixedStore) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	return p.Store.Writer(ctx, content.WithRef(p.prefix+o.Ref), content.WithDescriptor(o.Desc))
}

// writeBlob puts a small blob into the store, with labels for the content that it
// refers to.
func (s *Store) writeBlob(ctx context.Context, mediaType string, data []byte, refs map[string]string) (
	ocispec.Descriptor, error,
) {
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	ref := "blob-" + desc.Digest.String()
	err := content.WriteBlob(ctx, s.content, ref, bytes.NewReader(data), desc, content.WithLabels(refs))
	if err != nil && !errors.Is(err, errdefs.ErrAlreadyExists) {
		return ocispec.Descriptor{}, fmt.Errorf("cannot write %s: %w", mediaType, err)
	}
	return desc, nil
}
