package images

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/changes"
)

// CommitOptions are the options of Commit.
type CommitOptions struct {
	// Image is the image of the container: its id, or a name.
	Image string
	// Config is the configuration of the new image.
	Config dockerspec.DockerOCIImageConfig
	// Reference names the new image ("name" or "name:tag"); empty leaves it without a name.
	Reference string
	// Author is that of the new image; empty is the author of the container's image.
	Author string
	// Comment and CreatedBy are of the new image's last history entry.
	Comment, CreatedBy string
	// Freeze is called before the container's files are read, and what it returns when they have been read, whether
	// that failed or not. Nothing is read after an error of Freeze. Nil freezes nothing.
	Freeze func(ctx context.Context) (thaw func(), err error)
}

// Commit makes an image out of a container's image and what the container has changed, and returns the id. Without
// changes, the new image has the layers of the container's image. After an error, and where the engine is killed, nothing
// of the image stays. The errors are NotFound where the container has no root file system or its image is gone, and
// InvalidArgument for a malformed reference.
func (s *Store) Commit(ctx context.Context, containerID string, o CommitOptions) (digest.Digest, error) {
	var named []reference.Named
	if o.Reference != "" {
		n, err := parseTag(o.Reference)
		if err != nil {
			return "", err
		}
		named = append(named, n)
	}
	ctx, release, err := s.hold(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	from, err := s.Resolve(ctx, o.Image)
	if err != nil {
		return "", err
	}
	layer, err := s.readLayer(ctx, containerID, o.Freeze)
	if err != nil {
		return "", fmt.Errorf("failed to export layer: %w", err)
	}
	target, err := s.writeCommitted(ctx, from, layer, o)
	if err != nil {
		return "", err
	}
	return s.finish(ctx, target, named)
}

// committedLayer is the layer of a container's changes.
type committedLayer struct {
	blob   ocispec.Descriptor
	diffID digest.Digest
	// files is how many files and whiteouts the layer has. A layer without any is not stored.
	files int
}

// readLayer stores a container's changes. The container is frozen meanwhile.
func (s *Store) readLayer(ctx context.Context, containerID string, freeze func(context.Context) (func(), error)) (
	committedLayer, error,
) {
	source, release, err := s.source(ctx, containerID)
	if err != nil {
		return committedLayer{}, err
	}
	defer release()
	if freeze != nil {
		thaw, err := freeze(ctx)
		if err != nil {
			return committedLayer{}, err
		}
		defer thaw()
	}
	layer, err := s.storeChanges(ctx, source)
	if errors.Is(err, changes.ErrRedirected) {
		source.Merged = true
		layer, err = s.storeChanges(ctx, source)
	}
	return layer, err
}

// storeChanges stores changes as a layer that is compressed with gzip, as dockerd does.
func (s *Store) storeChanges(ctx context.Context, source changes.Source) (layer committedLayer, err error) {
	w, err := content.OpenWriter(ctx, s.operationStore(ctx), content.WithRef("layer"))
	if err != nil {
		return layer, err
	}
	defer w.Close()
	if err := w.Truncate(0); err != nil { // of an earlier try
		return layer, err
	}
	buffered := bufio.NewWriterSize(w, layerBuffer)
	packed, err := compression.CompressStream(buffered, compression.Gzip)
	if err != nil {
		return layer, err
	}
	plain := digest.Canonical.Digester()
	layer.files, err = changes.WriteLayer(ctx, io.MultiWriter(packed, plain.Hash()), source)
	if err = errors.Join(err, packed.Close(), buffered.Flush()); err != nil || layer.files == 0 {
		return layer, err
	}
	layer.diffID = plain.Digest()
	layer.blob, err = commitBlob(ctx, w, ocispec.MediaTypeImageLayerGzip)
	return layer, err
}

// layerBuffer is the size of the writes of a layer's blob in bytes. compress/gzip writes 240 bytes at a time.
const layerBuffer = 256 << 10

// commitBlob ends the writing of a blob.
func commitBlob(ctx context.Context, w content.Writer, mediaType string) (ocispec.Descriptor, error) {
	st, err := w.Status()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: w.Digest(), Size: st.Offset}
	if err := w.Commit(ctx, desc.Size, desc.Digest); err != nil && !errors.Is(err, errdefs.ErrAlreadyExists) {
		return ocispec.Descriptor{}, err
	}
	return desc, nil
}

// writeCommitted writes the configuration and the manifest of an image that has a layer more than from.
func (s *Store) writeCommitted(ctx context.Context, from Image, layer committedLayer, o CommitOptions) (
	ocispec.Descriptor, error,
) {
	now, platform := time.Now().UTC(), from.Config.Platform
	platform.Architecture = cmp.Or(platform.Architecture, runtime.GOARCH)
	platform.OS = cmp.Or(platform.OS, runtime.GOOS)
	author := cmp.Or(o.Author, from.Config.Author)
	config := &dockerspec.DockerOCIImage{
		Image: ocispec.Image{
			Created:  &now,
			Author:   author,
			Platform: platform,
			RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: slices.Clone(from.Config.RootFS.DiffIDs)},
			History: append(slices.Clone(from.Config.History), ocispec.History{
				Created: &now, CreatedBy: o.CreatedBy, Author: author, Comment: o.Comment, EmptyLayer: layer.files == 0,
			}),
		},
		Config: o.Config,
	}
	layers := slices.Clone(from.Layers)
	if layer.files > 0 {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.diffID)
		layers = append(layers, layer.blob)
	}
	return s.writeImage(ctx, config, layers...)
}
