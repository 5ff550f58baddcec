package usage

import (
	"context"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
)

var pruneFilters = []string{"label", "label!", "until"}

// ContainerPrune removes the containers that don't run, each as a request to remove it would: a prune that is killed
// leaves no container half removed. A container whose record can't be read stays: nobody knows whether it runs. Prune ends with ctx; what was removed until then has its events. Errors: Conflict while
// another prune of containers runs.
func (u *Usage) ContainerPrune(ctx context.Context, f filters.Filters) (container.PruneReport, error) {
	var report container.PruneReport
	if !u.pruning.CompareAndSwap(false, true) {
		return report, filters.ErrPruneRunning
	}
	defer u.pruning.Store(false)
	if err := filters.Check(f, pruneFilters); err != nil {
		return report, err
	}
	until, err := f.Until(time.Now())
	if err != nil {
		return report, err
	}
	for _, r := range u.config.Containers() {
		if r.Up() || r.Unreadable() != nil || !until.IsZero() && r.Created.After(until) || !f.Labelled(r.Config.Labels) {
			continue
		}
		size, removed := u.prune(ctx, r.ID)
		if ctx.Err() != nil {
			return report, context.Cause(ctx)
		}
		if removed {
			report.ContainersDeleted = append(report.ContainersDeleted, r.ID)
			report.SpaceReclaimed += uint64(size)
		}
	}
	return report, u.config.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		tx.Append(journal.Event{Time: time.Now().UTC(), Type: "container", Action: "prune",
			Attributes: map[string]string{"reclaimed": strconv.FormatUint(report.SpaceReclaimed, 10)}})
		return nil
	})
}

// prune removes a container, and returns how many bytes it had written. A container that was started meanwhile stays,
// and so does one whose removal fails: the others are removed all the same.
func (u *Usage) prune(ctx context.Context, id string) (size int64, removed bool) {
	entry := log.WithField("container", id)
	size, _, err := u.config.Rootfs.Usage(ctx, id)
	if err != nil && ctx.Err() != nil {
		return 0, false
	}
	if err != nil {
		entry.WithError(err).Debug("cannot measure a container before its removal; its space is not counted")
	}
	err = u.config.Remove(ctx, id)
	if err != nil && !errdefs.IsConflict(err) && ctx.Err() == nil {
		entry.WithError(err).Warn("cannot remove a container; prune goes on with the next one")
	}
	return size, err == nil
}
