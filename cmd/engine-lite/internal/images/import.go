package images

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// Labels on a manifest blob that keep what it refers to. A layer's number follows its label.
const (
	configRefLabel = "containerd.io/gc.ref.content.config"
	layerRefLabel  = "containerd.io/gc.ref.content.l."
)

// Import makes an image of one layer from the tar of a file tree, plain or
// compressed with gzip, bzip2 or zstd, and returns its id. The error is
// InvalidArgument if the options or the tar make no sense; then nothing stays.
func (s *Store) Import(ctx context.Context, r io.Reader, o ImportOptions) (digest.Digest, error) {
	config, named, err := s.importConfig(o)
	if err != nil {
		return "", err
	}
	ctx, release, err := s.hold(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	layer, diffID, err := s.writeLayer(ctx, r)
	if err != nil {
		return "", badContent(ctx, fmt.Errorf("cannot import file tree: %w", err))
	}
	config.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}}
	target, err := s.writeImage(ctx, config, layer)
	if err != nil {
		return "", err
	}
	return s.finish(ctx, target, named)
}

// finish unpacks an image that was written, and gives it its names. It returns the image's id.
func (s *Store) finish(ctx context.Context, target ocispec.Descriptor, named []reference.Named) (digest.Digest, error) {
	img, err := s.derive(ctx, target, platforms.All)
	if err != nil {
		return "", err
	}
	if err := s.unpack(ctx, img); err != nil {
		return "", err
	}
	return img.ID, s.publish(ctx, img, named...)
}

// importConfig makes the configuration of an imported image, but for its
// layer, and reads its name.
func (s *Store) importConfig(o ImportOptions) (*dockerspec.DockerOCIImage, []reference.Named, error) {
	platform, err := s.parsePlatform(o.Platform)
	if err != nil {
		return nil, nil, err
	}
	var named []reference.Named
	if o.Reference != "" {
		n, err := parseTag(o.Reference)
		if err != nil {
			return nil, nil, err
		}
		named = append(named, n)
	}
	now := time.Now().UTC()
	config := &dockerspec.DockerOCIImage{Image: ocispec.Image{
		Created:  &now,
		Platform: platform,
		History:  []ocispec.History{{Created: &now, Comment: o.Message}},
	}}
	return config, named, ApplyChanges(&config.Config, o.Changes)
}

// parsePlatform reads "os/arch[/variant]"; empty is this machine's. One that
// this machine can't run is NotImplemented.
func (s *Store) parsePlatform(platform string) (ocispec.Platform, error) {
	if platform == "" {
		return platforms.DefaultSpec(), nil
	}
	p, err := platforms.Parse(platform)
	if err != nil {
		return p, classed.Errorf(errdefs.ErrInvalidArgument, "invalid platform %q: %v", platform, err)
	}
	if !s.platform.Match(p) {
		return p, classed.Errorf(errdefs.ErrNotImplemented, "images for the platform %s (--platform) can't be used on this machine", platforms.Format(p))
	}
	return p, nil
}

// writeImage writes a configuration, and a manifest with layers, bottom first.
func (s *Store) writeImage(ctx context.Context, config *dockerspec.DockerOCIImage, layers ...ocispec.Descriptor) (
	ocispec.Descriptor, error,
) {
	data, err := json.Marshal(config)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("cannot encode image configuration: %w", err)
	}
	configDesc, err := s.writeBlob(ctx, ocispec.MediaTypeImageConfig, data, nil)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	data, err = json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    configDesc,
		Layers:    append([]ocispec.Descriptor{}, layers...), // an empty list, not null
	})
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("cannot encode image manifest: %w", err)
	}
	refs := map[string]string{configRefLabel: configDesc.Digest.String()}
	for i, layer := range layers {
		refs[layerRefLabel+strconv.Itoa(i)] = layer.Digest.String()
	}
	return s.writeBlob(ctx, ocispec.MediaTypeImageManifest, data, refs)
}

// writeLayer stores a tar with the compression that it has. No layer has bzip2: such a
// tar is stored as plain tar. It returns the blob and the digest of the plain tar.
func (s *Store) writeLayer(ctx context.Context, r io.Reader) (
	layer ocispec.Descriptor, diffID digest.Digest, err error,
) {
	buffered := bufio.NewReader(r)
	mediaType, err := sniff(buffered)
	if err != nil {
		return layer, "", err
	}
	var source io.Reader = buffered
	if mediaType == "" {
		if source, err = expand(mediaType, buffered); err != nil {
			return layer, "", err
		}
		mediaType = ocispec.MediaTypeImageLayer
	}
	w, err := content.OpenWriter(ctx, s.operationStore(ctx), content.WithRef("layer"))
	if err != nil {
		return layer, "", err
	}
	defer w.Close()
	diffID, err = copyLayer(w, source, mediaType)
	if err != nil {
		return layer, "", err
	}
	layer, err = commitBlob(ctx, w, mediaType)
	return layer, diffID, err
}

// copyLayer copies all of source to w, and returns the digest of the plain tar. The
// error is that of the tar reader if source is no tar.
func copyLayer(w io.Writer, source io.Reader, mediaType string) (digest.Digest, error) {
	copied := io.TeeReader(source, w)
	plain, err := expand(mediaType, copied)
	if err != nil {
		return "", err
	}
	defer plain.Close()
	digester := digest.Canonical.Digester()
	hashed := io.TeeReader(plain, digester.Hash())
	if err := checkTar(hashed); err != nil {
		return "", err
	}
	// Padding may follow the end of the tar, and that of the compression.
	for _, r := range []io.Reader{hashed, copied} {
		if _, err := io.Copy(io.Discard, r); err != nil {
			return "", err
		}
	}
	return digester.Digest(), nil
}

// checkTar reads all headers of a tar. Padding behind its end isn't read.
func checkTar(r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		_, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
