package volumes

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/volume"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

func TestCreate(t *testing.T) {
	e := newEngine(t)
	v, err := e.api.VolumeCreate(t.Context(), volume.CreateRequest{Name: "web", Labels: map[string]string{"a": "b"}})
	must(t, err)
	if v.Mountpoint != filepath.Join(e.root, "web", "_data") || v.Driver != "local" || v.Scope != "local" ||
		v.Labels["a"] != "b" || v.Options != nil {
		t.Errorf("%+v", v)
	}
	for path, mode := range map[string]os.FileMode{e.root: 0o701, filepath.Join(e.root, "web"): 0o701,
		v.Mountpoint: 0o755} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	again, err := e.api.VolumeCreate(t.Context(), volume.CreateRequest{Name: "web",
		DriverOpts: map[string]string{"nonsense": "1"}})
	if err != nil || again.CreatedAt != v.CreatedAt || again.Labels["a"] != "b" {
		t.Errorf("the one that is there: %+v, %v", again, err)
	}
	unnamed, err := e.api.VolumeCreate(t.Context(), volume.CreateRequest{})
	must(t, err)
	if _, ok := unnamed.Labels[anonymousLabel]; len(unnamed.Name) != 64 || !ok {
		t.Errorf("%+v", unnamed)
	}
	if got := e.events(); !slices.Equal(got, []string{"create web", "create " + unnamed.Name}) {
		t.Errorf("%q", got)
	}
}

// TestRefused has wrong requests refused in dockerd's words.
func TestRefused(t *testing.T) {
	e := newEngine(t)
	type options = map[string]string
	for text, req := range map[string]volume.CreateRequest{
		"create x: volume name is too short, names should be at least two alphanumeric characters": {Name: "x"},
		`create a/b: "a/b" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. ` +
			`If you intended to pass a host directory, use absolute path`: {Name: "a/b"},
		`create .filling: ".filling" includes invalid characters`:          {Name: ".filling"},
		"create " + strings.Repeat("n", 256) + ": volume name is too long": {Name: strings.Repeat("n", 256)},
		`create vv: invalid option: "nonsense"`: {Name: "vv",
			DriverOpts: options{"nonsense": "1", "type": "x", "device": "y"}},
		`create vv: missing required option: "device"`: {Name: "vv",
			DriverOpts: options{"type": "tmpfs"}},
		`create vv: missing required option: "type"`: {Name: "vv",
			DriverOpts: options{"device": "/x", "o": "bind"}},
		"create vv: quota size requested but no quota support": {Name: "vv",
			DriverOpts: options{"size": "1g"}},
		"create vv: invalid size: 'x'": {Name: "vv",
			DriverOpts: options{"size": "x"}},
		"create vv: port not allowed in CIFS device URL, include 'port' in 'o": {Name: "vv",
			DriverOpts: options{"type": "cifs", "device": "//h:5/x"}},
		"create vv: the volume's labels and options have": {Name: "vv",
			Labels: options{"a": strings.Repeat("x", maxText)}},
		`create vv: error looking up volume plugin nfsd: plugin "nfsd" not found`: {Name: "vv", Driver: "nfsd"},
	} {
		_, err := e.api.VolumeCreate(t.Context(), req)
		wrong := errdefs.IsInvalidArgument(err) || req.Driver != "" && errdefs.IsNotFound(err)
		if err == nil || !strings.HasPrefix(err.Error(), text) || !wrong {
			t.Errorf("%v, not %s", err, text)
		}
		if len(req.Name) > 1 && req.Name[0] == 'v' && req.Driver == "" &&
			len(req.DriverOpts) > 0 { // also with a container
			r := vol(req.Name, "/x")
			err := e.store.Update(t.Context(), func(tx *store.Tx) error {
				return e.Reserve(tx, &record.Record{Mounts: []record.Mount{r},
					HostConfig: &record.HostConfig{Mounts: []record.MountRequest{
						{Type: record.MountVolume, Target: "/x/",
							Volume: &record.VolumeOptions{DriverOptions: req.DriverOpts}}}}})
			})
			if err == nil || !strings.HasPrefix(err.Error(), text) {
				t.Errorf("Reserve: %v, not %s", err, text)
			}
		}
	}
	must(t, e.store.Update(t.Context(), func(tx *store.Tx) error {
		return Records.Put(tx, "theirs", Volume{Name: "theirs", Driver: "other"})
	}))
	if _, err := e.api.VolumeCreate(t.Context(), volume.CreateRequest{Name: "theirs",
		Driver: "local"}); !errdefs.IsConflict(err) ||
		err.Error() != "create theirs: driver 'other' already has volume 'theirs': volume name must be unique" {
		t.Errorf("%v", err)
	}
	if list, _, err := e.api.VolumeList(t.Context(), nil); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestInUse keeps a volume while a container has it, whatever the container does, and also one that nobody can read.
func TestInUse(t *testing.T) {
	e := newEngine(t)
	a, b := e.create("c1", vol("web", "/a")), e.create("c2", vol("web", "/b"))
	must(t, e.store.Update(t.Context(), func(tx *store.Tx) error {
		newer := store.Kind[map[string]any]{Name: record.Containers.Name, What: "container"}
		return newer.Put(tx, "c3", map[string]any{"Schema": 99, "Mounts": []any{map[string]any{"Type": "volume",
			"Name": "web"}}})
	}))
	err := e.api.VolumeRemove(t.Context(), "web", true)
	if !errdefs.IsConflict(err) || err.Error() != "remove web: volume is in use - [c1, c2, c3]" {
		t.Errorf("%v", err)
	}
	e.remove(a, true)
	e.remove(b, true)
	if err := e.api.VolumeRemove(t.Context(), "web", false); !errdefs.IsConflict(err) {
		t.Errorf("%v", err)
	}
	must(t, e.store.Update(t.Context(), func(tx *store.Tx) error { record.Containers.Delete(tx, "c3"); return nil }))
	must(t, e.api.VolumeRemove(t.Context(), "web", false))
	if err := e.api.VolumeRemove(t.Context(), "web", false); !errdefs.IsNotFound(err) ||
		err.Error() != "get web: no such volume" {
		t.Errorf("%v", err)
	}
	must(t, e.api.VolumeRemove(t.Context(), "web", true))
	if got := content(t, e.root); len(got) != 3 {
		t.Errorf("left: %v", got)
	}
	if got := e.events(); !slices.Equal(got, []string{"create web", "destroy web"}) {
		t.Errorf("%q", got)
	}
}

// TestCreateBesideRemove runs both for the same volume. A container that was created has its volume, and an empty one
// where the volume was removed before.
func TestCreateBesideRemove(t *testing.T) {
	e := newEngineIn(t, memory(t))
	for i := range 30 {
		name := fmt.Sprintf("v%d", i%3)
		e.add(name, nil)
		write(t, filepath.Join(e.root, name, "_data", "old"), "x")
		var group sync.WaitGroup
		var removed, created error
		var r *record.Record
		group.Go(func() { removed = e.api.VolumeRemove(t.Context(), name, false) })
		group.Go(func() { r, created = e.tryCreate("c1", vol(name, "/x")) })
		group.Wait()
		must(t, created)
		c := e.acquire(r, run(1))
		got := content(t, sourceOf(c))
		if errdefs.IsConflict(removed) != (got["old"] == "x") || removed != nil && !errdefs.IsConflict(removed) {
			t.Errorf("removed: %v, and the container sees %v", removed, got)
		}
		must(t, e.Free(t.Context(), run(1)))
		e.remove(r, false)
	}
}

func TestList(t *testing.T) {
	e := newEngine(t)
	for name, labels := range map[string]map[string]string{"web1": {"a": "b", "c": ""}, "web2": {"a": "x"}, "db": nil} {
		_, err := e.api.VolumeCreate(t.Context(), volume.CreateRequest{Name: name, Labels: labels})
		must(t, err)
	}
	e.create("c1", vol("web2", "/x"), vol("web2", "/y"))
	for _, c := range []struct {
		filters filters.Filters
		want    string
		err     string
	}{
		{nil, "db web1 web2", ""},
		{filters.Filters{"name": {"web"}}, "web1 web2", ""},
		{filters.Filters{"name": {"^d", "1$"}}, "db web1", ""},
		{filters.Filters{"name": {"["}}, "", ""},
		{filters.Filters{"label": {"a"}}, "web1 web2", ""},
		{filters.Filters{"label": {"a", "c"}}, "web1", ""},
		{filters.Filters{"label": {"a=b"}}, "web1", ""},
		{filters.Filters{"driver": {"local", "x"}}, "db web1 web2", ""},
		{filters.Filters{"driver": {"x"}}, "", ""},
		{filters.Filters{"dangling": {"true"}}, "db web1", ""},
		{filters.Filters{"dangling": {"0"}, "name": {"web"}}, "web2", ""},
		{filters.Filters{"dangling": {"x"}}, "", "invalid filter 'dangling=[x]'"},
		{filters.Filters{"dangling": {"0", "1"}}, "", "invalid filter 'dangling=[0 1]'"},
		{filters.Filters{"dangling": {}}, "", "invalid filter 'dangling'"},
		{filters.Filters{"nonsense": {"x"}}, "", "invalid filter 'nonsense'"},
	} {
		list, warnings, err := e.api.VolumeList(t.Context(), c.filters)
		var names []string
		for _, v := range list {
			names = append(names, v.Name)
		}
		if got := strings.Join(names, " "); got != c.want || len(warnings) > 0 {
			t.Errorf("%v: %s, not %s; %q", c.filters, got, c.want, warnings)
		}
		if err != nil && !errdefs.IsInvalidArgument(err) || (err == nil) != (c.err == "") || err != nil &&
			err.Error() != c.err {
			t.Errorf("%v: %v, not %s", c.filters, err, c.err)
		}
	}
	must(t, e.store.Update(t.Context(), func(tx *store.Tx) error {
		newer := store.Kind[map[string]any]{Name: Records.Name, What: "volume"}
		return newer.Put(tx, "newer", map[string]any{"Schema": 99, "Name": "newer"})
	}))
	list, warnings, err := e.api.VolumeList(t.Context(), nil)
	if err != nil || len(list) != 3 || len(warnings) != 1 || !strings.Contains(warnings[0], "newer") {
		t.Errorf("%v %q %v", list, warnings, err)
	}
	e.sweep() // leaves it alone
	if err := e.api.VolumeRemove(t.Context(), "newer", false); err != nil {
		t.Error(err)
	}
}

func TestPrune(t *testing.T) {
	e := newEngine(t)
	names := map[string]string{}
	prepare := func() {
		for name, req := range map[string]volume.CreateRequest{
			"named": {Name: "named"}, "labeled": {Name: "labeled", Labels: map[string]string{"keep": "1"}},
			"used":    {Name: "used"},
			"options": {Name: "options", DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs"}},
			"unnamed": {}, "unnamed and labeled": {Labels: map[string]string{"keep": "1"}},
		} {
			if names[name] != "" && e.exists(names[name]) {
				continue
			}
			v, err := e.api.VolumeCreate(t.Context(), req)
			must(t, err)
			names[name] = v.Name
			write(t, filepath.Join(v.Mountpoint, "file"), "12345")
		}
	}
	prepare()
	e.create("c1", vol("used", "/x"))
	for _, c := range []struct {
		filters filters.Filters
		want    string
		err     string
	}{
		{filters.Filters{}, "unnamed, unnamed and labeled", ""},
		{filters.Filters{"all": {"true"}}, "labeled, named, unnamed, unnamed and labeled", ""},
		{filters.Filters{"all": {"1"}, "label": {"keep"}}, "labeled, unnamed and labeled", ""},
		{filters.Filters{"all": {"1"}, "label!": {"keep=1"}}, "named, unnamed", ""},
		{filters.Filters{"all": {"false"}, "label!": {"keep"}}, "unnamed", ""},
		{filters.Filters{"label": {"none"}}, "", ""},
		{filters.Filters{"all": {"x"}}, "", `invalid filter 'all': strconv.ParseBool: parsing "x": invalid syntax`},
		{filters.Filters{"all": {"0", "1"}}, "", "invalid filter 'all=[0 1]': only one value is expected"},
		{filters.Filters{"dangling": {"1"}}, "", "invalid filter 'dangling'"},
	} {
		prepare()
		report, err := e.api.VolumesPrune(t.Context(), c.filters)
		var got []string
		for name, id := range names {
			if slices.Contains(report.VolumesDeleted, id) && !e.exists(id) {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if text := strings.Join(got, ", "); text != c.want || report.SpaceReclaimed != uint64(5*len(got)) {
			t.Errorf("%v: %s, not %s; %d bytes", c.filters, text, c.want, report.SpaceReclaimed)
		}
		if (err == nil) != (c.err == "") || err != nil && (err.Error() != c.err || !errdefs.IsInvalidArgument(err)) {
			t.Errorf("%v: %v, not %s", c.filters, err, c.err)
		}
		if events := e.events(); err == nil && events[len(events)-1] != "prune" {
			t.Errorf("%q", events)
		}
	}
	e.api.pruning.Store(true)
	if _, err := e.api.VolumesPrune(t.Context(), nil); !errdefs.IsConflict(err) ||
		err.Error() != "a prune operation is already running" {
		t.Errorf("%v", err)
	}
	e.api.pruning.Store(false)
	prepare()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if report, err := e.api.VolumesPrune(ctx, filters.Filters{}); err != nil || len(report.VolumesDeleted) > 0 {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestUsage(t *testing.T) {
	e := newEngine(t)
	e.add("a1", nil)
	e.add("options", map[string]string{"type": "tmpfs", "device": "tmpfs"})
	write(t, filepath.Join(e.data("a1"), "dir", "file"), "12345")
	must(t, os.Link(filepath.Join(e.data("a1"), "dir", "file"), filepath.Join(e.data("a1"), "link")))
	e.create("c1", vol("a1", "/x"), vol("b1", "/y"))
	e.create("c2", vol("a1", "/x"))
	list, err := e.api.VolumeUsage(t.Context())
	must(t, err)
	got := map[string]volume.UsageData{}
	for _, v := range list {
		got[v.Name] = *v.UsageData
	}
	if want := map[string]volume.UsageData{"a1": {Size: 5, RefCount: 2}, "b1": {RefCount: 1}}; !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// TestAnonymous removes volumes that nobody has named with their container, if the user wants that and no other
// container has them.
func TestAnonymous(t *testing.T) {
	e := newEngine(t)
	unnamed, shared := vol("aa", "/a"), vol("bb", "/b")
	unnamed.Anonymous, shared.Anonymous = true, true
	r := e.create("c1", unnamed, shared, vol("named", "/c"))
	other := e.create("c2", shared)
	e.acquire(r, run(1))
	if v, err := e.get("aa"); err != nil || v.Labels[anonymousLabel] != "" || len(v.Labels) != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	e.remove(r, true)
	if e.exists("aa") || !e.exists("bb") || !e.exists("named") {
		t.Error("not the right volumes went with the container")
	}
	if _, err := os.Lstat(e.dir("aa")); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
	e.remove(other, false)
	if !e.exists("bb") {
		t.Error("nobody wanted the volume to go")
	}
}

// FuzzRequest makes volumes of any name and options. What is accepted is a directory of its own and can be removed.
func FuzzRequest(f *testing.F) {
	for _, name := range []string{"web", "..", "a/../b", "A-1_2.x", "a\x00b", "", "é1"} {
		f.Add(name, "type", "nfs", "device", ":/x", "addr=host,password=a,b")
	}
	f.Fuzz(func(t *testing.T, name, key1, value1, key2, value2, o string) {
		options := map[string]string{key1: value1, key2: value2}
		if err := checkOptions(options); err == nil {
			options["o"] = o
			address := func(context.Context, string) (string, error) { return "10.0.0.1", nil }
			device, _, err := source(t.Context(), options, address)
			if err == nil && device == "" {
				t.Errorf("%v: no device", options)
			}
		}
		if password := option(o, "password"); len(password) > 8 && !strings.Contains(password, "*") &&
			strings.Contains(masked("mount: "+o, o), "password="+password) {
			t.Errorf("the password of %q is shown", o)
		}
		if checkName(name) != nil {
			return
		}
		root := "/volumes"
		if dir := filepath.Join(root, name); filepath.Dir(dir) != root || strings.HasPrefix(name, ".") ||
			filepath.Base(dir) != name {
			t.Errorf("%q is %s", name, dir)
		}
		v := Volume{Name: name, Driver: driverLocal, Options: options}
		raw, err := Records.Encode(v)
		must(t, err)
		if again, err := Records.Decode(name, raw); err != nil || again.Name != name {
			t.Errorf("%s: %v", raw, err)
		}
	})
}
