// Package usage is what containers, images and volumes take on the disk, and the prune of containers: docker system df,
// docker ps -s, docker container prune.
package usage

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
	"golang.org/x/sync/errgroup"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/inspect"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// Images say what the images take.
type Images interface {
	ImageDiskUsage(ctx context.Context) (*image.DiskUsage, error)
}

// Rootfs measures the root filesystems of containers.
type Rootfs interface {
	// Usage returns the bytes that a container has written, and these together with its image's; NotFound where the
	// container has no root filesystem.
	Usage(ctx context.Context, containerID string) (written, total int64, err error)
}

// Volumes measure the volumes.
type Volumes interface {
	// VolumeUsage returns the local volumes, each with its UsageData: Size in bytes, -1 where nobody knows, and RefCount,
	// how many containers use the volume.
	VolumeUsage(ctx context.Context) ([]volume.Volume, error)
}

// Config is what usage is measured of.
type Config struct {
	Store  *store.Store
	Images Images
	Rootfs Rootfs
	// Containers returns the records of all containers, newest first.
	Containers func() []*record.Record
	// Remove removes a container, with its usual intents and events. It fails with Conflict where the container runs.
	Remove func(ctx context.Context, id string) error
	// Source returns the path of the host where a mount's volume is; nil if nobody knows one.
	Source func(m record.Mount) string
	// Volumes is nil where there are no volumes.
	Volumes Volumes
}

// Usage answers the requests about used space.
type Usage struct {
	config  Config
	pruning atomic.Bool
}

// New returns the answers about used space.
func New(c Config) *Usage { return &Usage{config: c} }

// SystemDiskUsage tells what each type of object takes. Types that were not asked for are nil in the answer. There is no
// build cache.
func (u *Usage) SystemDiskUsage(ctx context.Context, objects []system.DiskUsageObject) (system.DiskUsage, error) {
	var answer system.DiskUsage
	var err error
	asked := func(o system.DiskUsageObject) bool { return err == nil && slices.Contains(objects, o) }
	if asked(system.ImageObject) {
		answer.ImageUsage, err = u.config.Images.ImageDiskUsage(ctx)
	}
	if asked(system.ContainerObject) {
		answer.ContainerUsage, err = u.containers(ctx)
	}
	if asked(system.VolumeObject) {
		answer.VolumeUsage, err = u.volumes(ctx)
	}
	if asked(system.BuildCacheObject) {
		answer.BuildCacheUsage = &build.DiskUsage{}
	}
	return answer, err
}

func (u *Usage) containers(ctx context.Context) (*container.DiskUsage, error) {
	now := time.Now()
	answer := &container.DiskUsage{Items: []container.Summary{}}
	for _, r := range u.config.Containers() {
		s := inspect.Summary(r, now, u.config.Source)
		s.ImageManifestDescriptor = nil // dockerd leaves it out here
		answer.Items = append(answer.Items, s)
		answer.TotalCount++
		if r.Up() {
			answer.ActiveCount++
		}
	}
	if err := u.AddSizes(ctx, answer.Items); err != nil {
		return nil, err
	}
	for i := range answer.Items {
		s := &answer.Items[i]
		answer.TotalSize += s.SizeRw
		switch s.State {
		case container.StateRunning, container.StatePaused, container.StateRestarting:
		default:
			answer.Reclaimable += s.SizeRw
		}
	}
	return answer, nil
}

func (u *Usage) volumes(ctx context.Context) (*volume.DiskUsage, error) {
	answer := &volume.DiskUsage{Items: []volume.Volume{}}
	if u.config.Volumes == nil {
		return answer, nil
	}
	list, err := u.config.Volumes.VolumeUsage(ctx)
	if err != nil {
		return nil, err
	}
	answer.Items, answer.TotalCount = list, int64(len(list))
	for _, v := range list {
		size := int64(0)
		if v.UsageData != nil {
			size = max(v.UsageData.Size, 0)
		}
		answer.TotalSize += size
		if v.UsageData != nil && v.UsageData.RefCount == 0 {
			answer.Reclaimable += size
			continue
		}
		answer.ActiveCount++
	}
	return answer, nil
}

// atOnce is how many containers are asked for at once. How many are walked at once is the business of Rootfs.
const atOnce = 4

// AddSizes measures the containers of a list. Those that have no root filesystem, as after their removal, have size 0.
func (u *Usage) AddSizes(ctx context.Context, list []container.Summary) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range list {
		s := &list[i]
		group.Go(func() error {
			var err error
			s.SizeRw, s.SizeRootFs, err = u.config.Rootfs.Usage(ctx, s.ID)
			if errdefs.IsNotFound(err) {
				return nil
			}
			return err
		})
	}
	return group.Wait()
}
