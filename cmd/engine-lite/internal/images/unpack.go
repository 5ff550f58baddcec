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

	"github.com/engine-lite/engine-lite/internal/classed"
)

// snapshotRefLabel, followed by the snapshotter's name, is a label of a configuration
// blob: it keeps the unpacked layers as long as the blob.
const snapshotRefLabel = "containerd.io/gc.ref.snapshot."

// unpack makes the snapshots of all of the image's layers. Each is made once, also if
// several callers unpack it at the same time. ctx comes from hold. The error is
// InvalidArgument if a layer's content has another digest than the image says.
func (s *Store) unpack(ctx context.Context, img *Image) error {
	for i := range img.Layers {
		if err := s.unpackLayer(ctx, img, i); err != nil {
			return err
		}
	}
	return s.keepUnpacked(ctx, img)
}

// unpackLayer makes the snapshot of layer i. The layers below are unpacked.
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

// holdSnapshot lets the lease in ctx refer to a snapshot, which may not exist yet. A
// snapshot that exists can't be collected from then on.
func (s *Store) holdSnapshot(ctx context.Context, key string) error {
	id, ok := leases.FromContext(ctx)
	if !ok {
		return classed.Errorf(errdefs.ErrInternal, "unpacking without a lease")
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

// unpacked reports whether all layers up to chainID have snapshots.
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

// badContent gives an error of reading content from outside its class. Cancellations,
// errors of this machine (machineLacks) and errors with a class stay as they are. All
// others are InvalidArgument. So is NotFound: the sender left the content out.
func badContent(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case machineLacks(err):
		return err
	case errdefs.IsNotFound(err), !hasClass(err):
		return classed.Errorf(errdefs.ErrInvalidArgument, "%v", err)
	}
	return err
}

// machineLacks reports whether the kernel refused for lack of space, memory,
// descriptors or permission, and not because of the content.
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

// hasClass reports whether err has one of errdefs' classes.
func hasClass(err error) bool {
	return !errors.Is(errdefs.Resolve(err), errdefs.ErrUnknown)
}
