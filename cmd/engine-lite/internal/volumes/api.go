package volumes

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/volume"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/journal"
)

// Volumes is the part of Docker's API that is about volumes.
type Volumes struct {
	local   *Local
	pruning atomic.Bool
}

// New returns the calls about volumes.
func New(l *Local) *Volumes { return &Volumes{local: l} }

// VolumeCreate makes a volume, or returns the one with the name.
func (s *Volumes) VolumeCreate(ctx context.Context, req volume.CreateRequest) (volume.Volume, error) {
	if err := s.local.store.Room(ctx); err != nil {
		return volume.Volume{}, err
	}
	v := Volume{Name: req.Name, Driver: req.Driver, Labels: req.Labels, Options: req.DriverOpts}
	if v.Name == "" {
		v.Name, v.Labels = token()+token(), anonymous(v.Labels)
	}
	made, err := s.local.create(ctx, v)
	if err != nil {
		return volume.Volume{}, err
	}
	return s.local.shown(made), nil
}

// VolumeInspect describes a volume.
func (s *Volumes) VolumeInspect(_ context.Context, name string) (volume.Volume, error) {
	v, err := s.local.get(name)
	if err != nil {
		return volume.Volume{}, err
	}
	return s.local.shown(v), nil
}

// shown is a volume in Docker's form.
func (l *Local) shown(v Volume) volume.Volume {
	return volume.Volume{
		Name: v.Name, Driver: v.Driver, Labels: v.Labels, Options: v.Options, Scope: "local",
		Mountpoint: l.data(v.Name), CreatedAt: v.Created.Format(time.RFC3339),
	}
}

// VolumeRemove removes a volume that no container has. With force, it is no error that there is none.
func (s *Volumes) VolumeRemove(ctx context.Context, name string, force bool) error {
	err := s.local.remove(ctx, name)
	if force && errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

var listFilters = []string{"dangling", "driver", "label", "name"}

// VolumeList lists volumes by name. A warning tells of each that cannot be read.
func (s *Volumes) VolumeList(_ context.Context, f filters.Filters) ([]volume.Volume, []string, error) {
	if err := filters.Check(f, listFilters); err != nil {
		return nil, nil, err
	}
	dangling, err := truth(f, "dangling")
	if err != nil {
		return nil, nil, err
	}
	all, users, warnings, err := s.local.all()
	list := []volume.Volume{}
	for _, v := range all {
		if f.Match("driver", func(want string) bool { return want == v.Driver }) &&
			f.Match("name", func(want string) bool { return named(v.Name, want) }) &&
			f.All("label", func(want string) bool { return filters.HasLabel(v.Labels, want) }) &&
			(dangling == nil || *dangling == (users[v.Name] == 0)) {
			list = append(list, s.local.shown(v))
		}
	}
	return list, warnings, err
}

// all returns the volumes by name, and how many containers each has.
func (l *Local) all() (all []Volume, users map[string]int64, warnings []string, err error) {
	err = l.store.View(func(s *journal.Snapshot) error {
		if users, err = countUsers(s); err != nil {
			return err
		}
		return Records.ForEachOr(s, func(_ string, v Volume) error {
			all = append(all, v)
			return nil
		}, func(_ string, _ []byte, why error) error {
			warnings = append(warnings, why.Error())
			return nil
		})
	})
	return all, users, warnings, err
}

// named tells whether a volume's name has a filter's value or regular expression.
func named(name, want string) bool {
	if name == want {
		return true
	}
	matched, err := regexp.MatchString(want, name)
	return err == nil && matched
}

// truth reads a filter that is true or false; nil where it is not set.
func truth(f filters.Filters, name string) (*bool, error) {
	values, ok := f[name]
	if !ok {
		return nil, nil
	}
	if len(values) == 0 {
		return nil, invalid("invalid filter '%s'", name)
	}
	isTrue := slices.Contains(values, "1") || slices.Contains(values, "true")
	isFalse := slices.Contains(values, "0") || slices.Contains(values, "false")
	if isTrue == isFalse {
		return nil, invalid("invalid filter '%s=[%s]'", name, strings.Join(values, " "))
	}
	return &isTrue, nil
}

var pruneFilters = []string{"all", "label", "label!"}

// VolumesPrune removes the volumes that no container has: those that nobody has named, or all with the filter "all".
// Those with driver options stay: they use no space of the engine's. Where ctx is canceled, the report has what was
// done.
func (s *Volumes) VolumesPrune(ctx context.Context, f filters.Filters) (volume.PruneReport, error) {
	none := volume.PruneReport{}
	if !s.pruning.CompareAndSwap(false, true) {
		return none, classed.Errorf(errdefs.ErrConflict, "a prune operation is already running")
	}
	defer s.pruning.Store(false)
	anonymousOnly, err := withoutAll(f)
	if err != nil {
		return none, err
	}
	if err := filters.Check(f, pruneFilters); err != nil {
		return none, err
	}
	all, users, _, err := s.local.all()
	if err != nil {
		return none, err
	}
	report := volume.PruneReport{VolumesDeleted: []string{}}
	for _, v := range all {
		if ctx.Err() != nil {
			break
		}
		if _, unnamed := v.Labels[anonymousLabel]; anonymousOnly && !unnamed || users[v.Name] > 0 || !prunable(v, f) {
			continue
		}
		size, err := s.local.size(ctx, v.Name)
		if err == nil {
			err = s.local.remove(ctx, v.Name)
		}
		if err != nil {
			log.WithError(err).WithField("volume", v.Name).Warn("prune could not remove a volume; it stays")
			continue
		}
		report.SpaceReclaimed += uint64(size)
		report.VolumesDeleted = append(report.VolumesDeleted, v.Name)
	}
	if err := ctx.Err(); err != nil && !errors.Is(err, context.Canceled) {
		return report, err
	}
	reclaimed := map[string]string{"reclaimed": strconv.FormatUint(report.SpaceReclaimed, 10)}
	return report, s.local.store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		tx.Append(event("prune", "", reclaimed))
		return nil
	})
}

// withoutAll reads the filter "all", and tells whether only volumes are wanted that nobody has named.
func withoutAll(f filters.Filters) (bool, error) {
	switch all := f["all"]; len(all) {
	case 0:
		return true, nil
	case 1:
		named, err := strconv.ParseBool(all[0])
		if err != nil {
			return false, invalid("invalid filter 'all': %v", err)
		}
		return !named, nil
	default:
		return false, invalid("invalid filter 'all=%s': only one value is expected", all)
	}
}

// prunable tells whether a volume passes the filters of labels and has no driver options.
func prunable(v Volume, f filters.Filters) bool {
	has := func(want string) bool { return filters.HasLabel(v.Labels, want) }
	return len(v.Options) == 0 && f.All("label", has) && (len(f["label!"]) == 0 || !f.All("label!", has))
}

// VolumeUsage lists the volumes without driver options, with the size of each in bytes and how many containers have it,
// as Docker's disk usage has them. The size is -1 where it cannot be read.
func (s *Volumes) VolumeUsage(ctx context.Context) ([]volume.Volume, error) {
	all, users, _, err := s.local.all()
	list := []volume.Volume{}
	for _, v := range all {
		if len(v.Options) > 0 {
			continue
		}
		size, err := s.local.size(ctx, v.Name)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			size = -1
		}
		shown := s.local.shown(v)
		shown.UsageData = &volume.UsageData{Size: size, RefCount: users[v.Name]}
		list = append(list, shown)
	}
	return list, err
}

// size returns the bytes of a volume's files, holes too, each file once. A directory that was not made yet has none. The
// files of a volume that containers use come and go meanwhile: see treesize.
func (l *Local) size(ctx context.Context, name string) (int64, error) {
	n, err := l.sizes.Size(ctx, l.data(name))
	if errdefs.IsNotFound(err) {
		return 0, nil
	}
	return n, err
}
