package images

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
)

var pruneFilters = []string{"dangling", "label", "label!", "until"}

// ImagePrune removes the images without a name or, where the filter dangling is false, all names that no container uses.
// Errors: Conflict while another prune of images runs.
func (a *API) ImagePrune(ctx context.Context, f filters.Filters) (image.PruneReport, error) {
	var report image.PruneReport
	if !a.pruning.CompareAndSwap(false, true) {
		return report, filters.ErrPruneRunning
	}
	defer a.pruning.Store(false)
	if err := filters.Check(f, pruneFilters); err != nil {
		return report, err
	}
	dangling, err := f.Bool("dangling", true)
	if err != nil {
		return report, err
	}
	until, err := f.Until(time.Now())
	if err != nil {
		return report, fmt.Errorf("invalid value for 'until' filter: %w", err)
	}
	reclaimed, err := a.images.Prune(ctx, PruneOptions{
		All: !dangling, Until: until, InUse: a.containers.ImageUses, Asked: a.containers.ImageNames(),
		Keep: func(labels map[string]string) bool { return !f.Labelled(labels) },
		Removed: func(id digest.Digest, changes []image.DeleteResponse) error {
			report.ImagesDeleted = append(report.ImagesDeleted, changes...)
			return a.removalEvents(ctx, id.String(), changes)
		},
	})
	if err != nil {
		return report, err
	}
	report.SpaceReclaimed = uint64(reclaimed)
	return report, a.store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		tx.Append(journal.Event{Time: time.Now().UTC(), Type: "image", Action: "prune",
			Attributes: map[string]string{"reclaimed": strconv.FormatInt(reclaimed, 10)}})
		return nil
	})
}

// ImageDiskUsage is what all images take on the disk.
func (a *API) ImageDiskUsage(ctx context.Context) (*image.DiskUsage, error) {
	list, err := a.ImageList(ctx, true, true, nil)
	if err != nil {
		return nil, err
	}
	total, err := a.images.TotalSize(ctx)
	if err != nil {
		return nil, err
	}
	usage := &image.DiskUsage{Items: list, TotalCount: int64(len(list)), TotalSize: total}
	for i := range list {
		if list[i].Containers > 0 {
			usage.ActiveCount++
		} else {
			usage.Reclaimable += list[i].Size - list[i].SharedSize
		}
	}
	return usage, nil
}

// Prune removes names, and images without one, one after the other, and their content. It returns how many bytes of the
// disk that has freed. What cannot be removed stays, and the others are removed all the same.
func (s *Store) Prune(ctx context.Context, o PruneOptions) (reclaimed int64, err error) {
	candidates := s.prunable(o)
	before := map[part]int64{}
	for _, rec := range candidates {
		sizes, err := s.parts(ctx, rec.image)
		if err != nil {
			return 0, err
		}
		for p, n := range sizes {
			before[p] = n
		}
	}
	var failed []error
	for _, rec := range candidates {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		changes, err := s.carryOut(ctx, planName(s.names.Load(), "", rec), RemoveOptions{InUse: o.InUse})
		if err == nil && len(changes) > 0 {
			err = o.Removed(rec.image.ID, changes)
		}
		if err != nil && !errdefs.IsConflict(err) { // a container uses the last name
			failed = append(failed, err)
		}
	}
	if err := errors.Join(failed...); err != nil {
		return 0, err
	}
	return s.freed(ctx, before)
}

// prunable returns the records that Prune removes if no container uses them, by name. They have images: what can't be
// read stays for the user to look at.
func (s *Store) prunable(o PruneOptions) []*record {
	asked := askedNames(o.Asked)
	var list []*record
	for _, rec := range s.names.Load().byName {
		switch {
		case rec.image == nil:
		case rec.named != nil && (!o.All || asked[rec.Name]):
		case !o.Until.IsZero() && !rec.CreatedAt.Before(o.Until):
		case o.Keep != nil && o.Keep(rec.image.Config.Config.Labels):
		default:
			list = append(list, rec)
		}
	}
	slices.SortFunc(list, func(a, b *record) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// askedNames are the names of records that references mean. One with a tag and a digest means both.
func askedNames(refs []string) map[string]bool {
	names := make(map[string]bool, len(refs))
	for _, ref := range refs {
		if named, err := parseName(ref); err == nil {
			names[named.String()] = true
		}
		named, err := reference.ParseNormalizedNamed(ref)
		if tagged, ok := named.(reference.NamedTagged); ok && err == nil {
			names[tagged.Name()+":"+tagged.Tag()] = true
		}
	}
	return names
}

// freed collects, and returns the bytes of the pieces that are gone.
func (s *Store) freed(ctx context.Context, before map[part]int64) (int64, error) {
	// See collector.once: a collection is never cancelled. What it has begun does not take long.
	ctx = s.scope(context.WithoutCancel(ctx))
	if err := s.Collect(ctx); err != nil {
		return 0, err
	}
	var sum int64
	for p, n := range before {
		var err error
		if p.unpacked {
			_, err = s.snapshots.Stat(ctx, p.digest.String())
		} else {
			_, err = s.content.Info(ctx, p.digest)
		}
		switch {
		case errdefs.IsNotFound(err):
			sum += n
		case err != nil:
			return 0, err
		}
	}
	return sum, nil
}
