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

// forget is for layers that may have been removed.
func (l *layerSizes) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.bytes)
}

// layerSize returns the bytes of an unpacked layer; NotFound if the layer isn't unpacked. No files are walked: the
// snapshotter measured the layer when it was unpacked.
func (s *Store) layerSize(ctx context.Context, chainID digest.Digest) (int64, error) {
	if n, ok := s.sizes.get(chainID); ok {
		return n, nil
	}
	usage, err := s.snapshots.Usage(ctx, chainID.String())
	if err != nil {
		return 0, fmt.Errorf("cannot measure layer %s: %w", chainID, err)
	}
	s.sizes.set(chainID, usage.Size)
	return usage.Size, nil
}

// sizesOf returns the bytes of each of the image's layers, bottom first. A layer that isn't unpacked has the size of its
// blob.
func (s *Store) sizesOf(ctx context.Context, img *Image) ([]int64, error) {
	ctx = s.scope(ctx)
	sizes := make([]int64, len(img.Layers))
	for i, id := range chainIDs(img) {
		n, err := s.layerSize(ctx, id)
		if errdefs.IsNotFound(err) {
			n, err = img.Layers[i].Size, nil
		}
		if err != nil {
			return nil, err
		}
		sizes[i] = n
	}
	return sizes, nil
}

// chainIDs returns the chain ids of the image's layers, bottom first.
func chainIDs(img *Image) []digest.Digest {
	return identity.ChainIDs(append([]digest.Digest(nil), img.Config.RootFS.DiffIDs...))
}

// part is a piece of an image on the disk: a blob, or an unpacked layer by its chain id. The two may have the same
// digest.
type part struct {
	digest   digest.Digest
	unpacked bool
}

// parts returns the bytes of each piece that an image has on the disk.
func (s *Store) parts(ctx context.Context, img *Image) (map[part]int64, error) {
	ctx = s.scope(ctx)
	sizes := make(map[part]int64, len(img.Content)+len(img.Layers))
	for _, blob := range img.Content {
		sizes[part{digest: blob.Digest}] = blob.Size
	}
	for _, id := range chainIDs(img) {
		n, err := s.layerSize(ctx, id)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		sizes[part{id, true}] = n
	}
	return sizes, nil
}

// Size is how many bytes the image takes on the disk: its blobs and its unpacked layers.
func (s *Store) Size(ctx context.Context, img Image) (int64, error) {
	sizes, err := s.parts(ctx, &img)
	return total(sizes), err
}

func total(sizes map[part]int64) int64 {
	var sum int64
	for _, n := range sizes {
		sum += n
	}
	return sum
}

// shares are the pieces of all images on the disk.
type shares struct {
	sizes map[part]int64
	users map[part]int // how many images have the piece
	parts map[digest.Digest]map[part]int64
}

// shares measures all images of a catalog.
func (s *Store) shares(ctx context.Context, c *catalog) (*shares, error) {
	all := &shares{map[part]int64{}, map[part]int{}, map[digest.Digest]map[part]int64{}}
	for id, recs := range c.byID {
		sizes, err := s.parts(ctx, recs[0].image)
		if err != nil {
			return nil, err
		}
		all.parts[id] = sizes
		for p, n := range sizes {
			all.sizes[p] = n
			all.users[p]++
		}
	}
	return all, nil
}

// of returns how many of the image's bytes other images have too.
func (a *shares) of(img *Image) int64 {
	var shared int64
	for p, n := range a.parts[img.ID] {
		if a.users[p] > 1 {
			shared += n
		}
	}
	return shared
}

// TotalSize is how many bytes all images take on the disk together.
func (s *Store) TotalSize(ctx context.Context) (int64, error) {
	all, err := s.shares(ctx, s.names.Load())
	if err != nil {
		return 0, err
	}
	return total(all.sizes), nil
}
