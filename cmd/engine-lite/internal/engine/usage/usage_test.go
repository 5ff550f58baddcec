package usage

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/journal"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fake is all that usage is measured of: containers in memory.
type fake struct {
	records []*record.Record
	sizes   map[string]int64 // that containers have written; what is missing has no root filesystem
	fails   map[string]error // of the removal
	removed []string
	volumes []volume.Volume
}

func (f *fake) Records() []*record.Record { return slices.Clone(f.records) }

func (f *fake) Usage(ctx context.Context, id string) (written, total int64, err error) {
	size, ok := f.sizes[id]
	if !ok {
		return 0, 0, classed.Errorf(errdefs.ErrNotFound, "no root filesystem")
	}
	return size, size + 1000, ctx.Err()
}

func (f *fake) Remove(_ context.Context, id string) error {
	if err := f.fails[id]; err != nil {
		return err
	}
	f.removed = append(f.removed, id)
	return nil
}

func (f *fake) ImageDiskUsage(context.Context) (*image.DiskUsage, error) {
	return &image.DiskUsage{TotalSize: 3}, nil
}

func (f *fake) VolumeUsage(context.Context) ([]volume.Volume, error) { return f.volumes, nil }

// open returns the usage of containers up, old and new, and of what is left of one.
func open(t *testing.T) (*Usage, *fake) {
	t.Helper()
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal.db"), journal.Options{Format: store.Format})
	must(t, err)
	s := store.New(j)
	t.Cleanup(func() { must(t, s.Close()) })
	f := &fake{sizes: map[string]int64{"up": 1, "old": 20, "new": 300}, fails: map[string]error{}}
	for id, status := range map[string]record.Status{
		"up": record.StatusPaused, "old": record.StatusExited, "new": record.StatusCreated, "left": record.StatusRemoving,
	} {
		f.records = append(f.records, &record.Record{ID: id, Name: id, Version: 1, Status: status, Created: time.Now(),
			Config: &record.Config{Labels: map[string]string{"id": id}}, HostConfig: &record.HostConfig{NetworkMode: "none"}})
	}
	slices.SortFunc(f.records, func(a, b *record.Record) int { return strings.Compare(a.ID, b.ID) })
	f.records[2].Created = time.Now().Add(-2 * time.Hour)
	if f.records[2].ID != "old" {
		t.Fatal("not old")
	}
	return New(Config{Store: s, Images: f, Rootfs: f, Containers: f.Records, Remove: f.Remove}), f
}

func reclaimed(t *testing.T, u *Usage) (events []string) {
	t.Helper()
	must(t, store.Dump(t.Context(), u.config.Store, store.DumpOptions{}, func(line store.DumpLine) error {
		e := line.Event
		events = append(events, e.Type+" "+e.Action+" "+e.ID+e.Attributes["reclaimed"])
		return nil
	}))
	return events
}

func TestContainerPrune(t *testing.T) {
	for name, c := range map[string]struct {
		filters filters.Filters
		fails   map[string]error
		want    []string
		space   uint64
	}{
		"all":           {want: []string{"left", "new", "old"}, space: 320},
		"until":         {filters: filters.Filters{"until": {"1h"}}, want: []string{"old"}, space: 20},
		"label":         {filters: filters.Filters{"label": {"id=new"}}, want: []string{"new"}, space: 300},
		"not a label":   {filters: filters.Filters{"label!": {"id=new"}}, want: []string{"left", "old"}, space: 20},
		"nothing":       {filters: filters.Filters{"label": {"none"}}},
		"started since": {fails: map[string]error{"new": errdefs.ErrConflict}, want: []string{"left", "old"}, space: 20},
		"one fails":     {fails: map[string]error{"left": errors.New("busy")}, want: []string{"new", "old"}, space: 320},
	} {
		t.Run(name, func(t *testing.T) {
			u, f := open(t)
			maps.Copy(f.fails, c.fails)
			report, err := u.ContainerPrune(t.Context(), c.filters)
			must(t, err)
			if !slices.Equal(report.ContainersDeleted, c.want) || !slices.Equal(f.removed, c.want) || report.SpaceReclaimed != c.space {
				t.Errorf("%+v, removed %q", report, f.removed)
			}
			want := map[uint64]string{0: "0", 20: "20", 300: "300", 320: "320"}[c.space]
			if got := reclaimed(t, u); !slices.Equal(got, []string{"container prune " + want}) {
				t.Errorf("events %q", got)
			}
		})
	}
}

func TestContainerPruneRefusals(t *testing.T) {
	u, f := open(t)
	for _, filter := range []filters.Filters{{"nonsense": {"x"}}, {"until": {"x"}}, {"until": {"1h", "2h"}}, {"dangling": {"1"}}} {
		if _, err := u.ContainerPrune(t.Context(), filter); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v: %v", filter, err)
		}
	}
	u.config.Remove = func(ctx context.Context, id string) error {
		if _, err := u.ContainerPrune(ctx, nil); !errdefs.IsConflict(err) || err.Error() != "a prune operation is already running" {
			t.Errorf("a second prune: %v", err)
		}
		return f.Remove(ctx, id)
	}
	if report, err := u.ContainerPrune(t.Context(), nil); err != nil || len(report.ContainersDeleted) != 3 {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestContainerPruneEnds has a client that goes away: prune goes no further.
func TestContainerPruneEnds(t *testing.T) {
	u, f := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	u.config.Remove = func(ctx context.Context, id string) error {
		cancel()
		return f.Remove(ctx, id)
	}
	if _, err := u.ContainerPrune(ctx, nil); !errors.Is(err, context.Canceled) || len(f.removed) != 1 {
		t.Errorf("%v, removed %q", err, f.removed)
	}
}

func TestSystemDiskUsage(t *testing.T) {
	u, f := open(t)
	all := []system.DiskUsageObject{system.ContainerObject, system.ImageObject, system.VolumeObject, system.BuildCacheObject}
	got, err := u.SystemDiskUsage(t.Context(), all)
	must(t, err)
	c := got.ContainerUsage
	if c.TotalCount != 4 || c.ActiveCount != 1 || c.TotalSize != 321 || c.Reclaimable != 320 || len(c.Items) != 4 ||
		c.Items[1].SizeRw != 300 || c.Items[1].SizeRootFs != 1300 || c.Items[0].SizeRootFs != 0 {
		t.Errorf("%+v", c)
	}
	if v := got.VolumeUsage; v.TotalCount != 0 || v.Items == nil || got.ImageUsage.TotalSize != 3 || got.BuildCacheUsage == nil {
		t.Errorf("%+v", got)
	}
	f.volumes = []volume.Volume{
		{Name: "used", UsageData: &volume.UsageData{Size: 5, RefCount: 2}}, {Name: "free", UsageData: &volume.UsageData{Size: 70}},
		{Name: "unknown", UsageData: &volume.UsageData{Size: -1}}, {Name: "nothing known"},
	}
	u.config.Volumes = f
	got, err = u.SystemDiskUsage(t.Context(), all[2:3])
	must(t, err)
	v := got.VolumeUsage
	if v.TotalCount != 4 || v.ActiveCount != 2 || v.TotalSize != 75 || v.Reclaimable != 70 || len(v.Items) != 4 {
		t.Errorf("%+v", v)
	}
	if got.ContainerUsage != nil || got.ImageUsage != nil || got.BuildCacheUsage != nil {
		t.Errorf("what nobody asked for: %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := u.SystemDiskUsage(ctx, all); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestAddSizes has a container that is removed meanwhile: the list has no error.
func TestAddSizes(t *testing.T) {
	u, _ := open(t)
	list := []container.Summary{{ID: "gone"}, {ID: "old"}}
	must(t, u.AddSizes(t.Context(), list))
	if list[0].SizeRw != 0 || list[1].SizeRw != 20 || list[1].SizeRootFs != 1020 {
		t.Errorf("%+v", list)
	}
}
