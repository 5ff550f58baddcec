package images

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/rootfs"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// snapshotRefLabel on a configuration blob makes the unpacked layers live as
// long as the blob; the snapshotter's name follows it.
const snapshotRefLabel = "containerd.io/gc.ref.snapshot."

// unpack makes the snapshots of all of the image's layers, each once however
// many ask. ctx comes from hold. The error is InvalidArgument if a layer is
// not what the image says.
func (s *Store) unpack(ctx context.Context, img *Image) error {
	for i := range img.Layers {
		if err := s.unpackLayer(ctx, img, i); err != nil {
			return err
		}
	}
	return s.keepUnpacked(ctx, img)
}

// unpackLayer makes the snapshot of layer i, those below it being there.
func (s *Store) unpackLayer(ctx context.Context, img *Image, i int) error {
	diffIDs := img.Config.RootFS.DiffIDs
	chainID := identity.ChainID(slices.Clone(diffIDs[:i+1])).String()
	leave, err := s.unpacking.enter(ctx, chainID)
	if err != nil {
		return err
	}
	defer leave()
	if err := s.holdSnapshot(ctx, chainID); err != nil {
		return err
	}
	layer := rootfs.Layer{
		Blob: img.Layers[i],
		Diff: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: diffIDs[i]},
	}
	_, err = rootfs.ApplyLayer(ctx, layer, slices.Clone(diffIDs[:i]), s.snapshots, s.applier)
	if err != nil {
		return badContent(ctx, fmt.Errorf("cannot unpack layer %s: %w", img.Layers[i].Digest, err))
	}
	return nil
}

// holdSnapshot lets the lease in ctx refer to a snapshot, whether or not it
// exists yet, so that one that is found can't be collected afterwards.
func (s *Store) holdSnapshot(ctx context.Context, key string) error {
	id, ok := leases.FromContext(ctx)
	if !ok {
		return fmt.Errorf("unpacking without a lease: %w", errdefs.ErrInternal)
	}
	err := s.leases.AddResource(ctx, leases.Lease{ID: id}, leases.Resource{ID: key, Type: "snapshots/" + s.snapshotter})
	if err != nil {
		return fmt.Errorf("cannot hold snapshot %s: %w", key, err)
	}
	return nil
}

// keepUnpacked makes the image's configuration refer to its snapshot.
func (s *Store) keepUnpacked(ctx context.Context, img *Image) error {
	if len(img.Layers) == 0 {
		return nil
	}
	label := snapshotRefLabel + s.snapshotter
	info := content.Info{Digest: img.ID, Labels: map[string]string{label: img.ChainID.String()}}
	if _, err := s.content.Update(ctx, info, "labels."+label); err != nil {
		return fmt.Errorf("cannot keep the layers of image %s: %w", img.ID, err)
	}
	return nil
}

// unpacked tells whether all of the image's layers are there as snapshots.
func (s *Store) unpacked(ctx context.Context, chainID digest.Digest) (bool, error) {
	if chainID == "" {
		return true, nil
	}
	_, err := s.snapshots.Stat(ctx, chainID.String())
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// badContent classes what went wrong with content that came from outside.
// Cancellations, what this machine lacks and other classes stay as they are;
// the rest is InvalidArgument, missing content too: it was for the sender to
// supply.
func badContent(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case machineLacks(err):
		return err
	case errdefs.IsNotFound(err), !classed(err):
		return fmt.Errorf("%v: %w", err, errdefs.ErrInvalidArgument)
	}
	return err
}

// machineLacks tells whether the kernel refused for want of space, memory,
// descriptors or permission, rather than for what it was asked to do.
func machineLacks(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EROFS, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.EPERM, unix.EACCES:
		return true
	}
	return false
}

// classed tells whether err has one of errdefs' classes.
func classed(err error) bool {
	return !errors.Is(errdefs.Resolve(err), errdefs.ErrUnknown)
}
