package images

import (
	"context"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
)

// layerSizes remembers the bytes of unpacked layers by chain id, which never
// change. The zero value is ready.
type layerSizes struct {
	mu    sync.Mutex
	bytes map[digest.Digest]int64
}

func (l *layerSizes) get(chainID digest.Digest) (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, ok := l.bytes[chainID]
	return n, ok
}

func (l *layerSizes) set(chainID digest.Digest, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bytes == nil {
		l.bytes = make(map[digest.Digest]int64)
	}
	l.bytes[chainID] = n
}

// Size is how many bytes the image's unpacked layers take on disk. A layer that isn't
// unpacked counts with the size of its blob.
func (s *Store) Size(ctx context.Context, img Image) (int64, error) {
	sizes, err := s.sizesOf(ctx, &img)
	var sum int64
	for _, n := range sizes {
		sum += n
	}
	return sum, err
}

// sizesOf returns the bytes of each of the image's layers, bottom first.
func (s *Store) sizesOf(ctx context.Context, img *Image) ([]int64, error) {
	ctx = s.scope(ctx)
	chain := append([]digest.Digest(nil), img.Config.RootFS.DiffIDs...)
	sizes := make([]int64, len(img.Layers))
	for i, id := range identity.ChainIDs(chain) {
		n, ok := s.sizes.get(id)
		if !ok {
			usage, err := s.snapshots.Usage(ctx, id.String())
			switch {
			case errdefs.IsNotFound(err):
				n = img.Layers[i].Size
			case err != nil:
				return nil, fmt.Errorf("cannot measure layer %s: %w", id, err)
			default:
				n = usage.Size
				s.sizes.set(id, n)
			}
		}
		sizes[i] = n
	}
	return sizes, nil
}
