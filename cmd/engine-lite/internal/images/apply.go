package images

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// applier unpacks a layer without a mount if the layer goes into a plain directory, as
// overlayfs's first layer and all layers of native do. containerd's library would bind
// mount the directory first, and a process that is killed meanwhile would leave that
// mount behind.
type applier struct {
	diff.Applier
	blobs content.Provider
}

// Apply unpacks the layer blob desc into mounts and returns the descriptor of the
// blob's plain tar.
func (a applier) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (
	ocispec.Descriptor, error,
) {
	dir, ok := plainDirectory(mounts)
	if !ok {
		return a.Applier.Apply(ctx, desc, mounts, opts...)
	}
	blob, err := a.blobs.ReaderAt(ctx, desc)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("cannot read layer: %w", err)
	}
	defer blob.Close()
	plain, err := Decompress(content.NewReader(blob))
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("cannot read layer: %w", err)
	}
	defer plain.Close()
	digester := digest.Canonical.Digester()
	tar := io.TeeReader(plain, digester.Hash())
	if _, err := archive.Apply(ctx, dir, tar); err != nil {
		return ocispec.Descriptor{}, err
	}
	if _, err := io.Copy(io.Discard, tar); err != nil { // the padding belongs to the digest
		return ocispec.Descriptor{}, err
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digester.Digest()}, nil
}

// plainDirectory returns the directory that mounts would bind writable.
func plainDirectory(mounts []mount.Mount) (string, bool) {
	if len(mounts) != 1 || mounts[0].Type != "bind" || slices.Contains(mounts[0].Options, "ro") {
		return "", false
	}
	return mounts[0].Source, true
}
