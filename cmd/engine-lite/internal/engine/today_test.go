package engine

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/external"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/inspect"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
)

// unpackJournal unpacks testdata/v1/journal.db.gz: the journal that an engine of format 1 left when it was closed. It
// has
// containers in each state, an exec that runs, containers that were removed, and external ones.
func unpackJournal(t *testing.T, path string) {
	t.Helper()
	packed, err := os.Open("testdata/v1/journal.db.gz")
	must(t, err)
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	must(t, err)
	raw, err := io.ReadAll(z)
	must(t, err)
	must(t, os.WriteFile(path, raw, 0o600))
}

// wholeJournal is all that a journal has: records by kind and key, and the events.
func wholeJournal(t *testing.T, j store.Journal) (records map[string]string, events []string) {
	t.Helper()
	records = map[string]string{}
	must(t, store.Dump(t.Context(), j, store.DumpOptions{Records: true}, func(line store.DumpLine) error {
		if line.Record != nil {
			records[line.Record.Kind+"/"+line.Record.Key] = string(line.Record.Value)
			return nil
		}
		raw, err := json.Marshal(line.Event)
		events = append(events, string(raw))
		return err
	}))
	return records, events
}

// The journal of format 1 is migrated: no record changes but for its kind, and no event.
func TestMigrateTodaysJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), JournalName)
	unpackJournal(t, path)
	j, err := journal.Open(path, journal.Options{Format: store.Format, Reserve: -1})
	must(t, err)
	before, events := wholeJournal(t, j)
	found, err := CheckJournal(t.Context(), j)
	must(t, err)
	if len(found) > 0 {
		t.Errorf("before: %q", found)
	}
	s, err := store.Open(t.Context(), j, path, journalKinds()...)
	must(t, err)
	defer s.Close()
	after, same := wholeJournal(t, s)
	want := map[string]string{}
	kinds := map[string]int{}
	for name, value := range before {
		kind, key, _ := strings.Cut(name, "/")
		if to, ok := map[string]string{"bygone": "exit-record", "bygone-order": "exit-record-order",
			"foreign": "external-container"}[kind]; ok {
			kind = to
		}
		want[kind+"/"+key] = value
		kinds[kind]++
	}
	if !reflect.DeepEqual(after, want) || !reflect.DeepEqual(events, same) {
		t.Errorf("%v\nnot\n%v", after, want)
	}
	if fmt.Sprint(kinds) != "map[container:12 exec:1 exit-record:2 exit-record-order:2 external-container:2 name:12]" {
		t.Errorf("%v", kinds)
	}
	if found, err = CheckJournal(t.Context(), s); err != nil || len(found) > 0 {
		t.Errorf("after: %q, %v", found, err)
	}
	rewrite(t, s, after)
}

// rewrite writes each record as this release does after a change. All fields are still
// there, known and unknown.
func rewrite(t *testing.T, s *store.Store, before map[string]string) {
	t.Helper()
	must(t, s.Update(t.Context(), func(tx *store.Tx) error {
		return firstError(
			record.Containers.ForEach(tx, func(_ string, r *record.Record) error { return r.Put(tx) }),
			record.Execs.ForEach(tx, func(id string, x record.Exec) error { return record.Execs.Put(tx, id, x) }),
			record.RemovedExits.ForEach(tx,
				func(id string, x *record.RemovedExit) error { return record.RemovedExits.Put(tx, id, x) }),
			external.Records.ForEach(tx,
				func(id string, x external.Record) error { return external.Records.Put(tx, id, x) }),
		)
	}))
	after, _ := wholeJournal(t, s)
	for name, value := range before {
		if strings.HasPrefix(value, "{") {
			var was, is map[string]any
			must(t, json.Unmarshal([]byte(value), &was))
			must(t, json.Unmarshal([]byte(after[name]), &is))
			contains(t, name, is, notEmpty(was))
		}
	}
}

// notEmpty removes empty values: they may be left out when a record is written again.
func notEmpty(v map[string]any) map[string]any {
	v = maps.Clone(v)
	for key, value := range v {
		if inner, ok := value.(map[string]any); ok && len(inner) > 0 {
			v[key] = notEmpty(inner)
		} else if value == nil || value == "" || value == false || value == 0.0 {
			delete(v, key)
		}
	}
	return v
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Inspect and list answer about each container like the engine that wrote the journal.
func TestInspectTodaysJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), JournalName)
	unpackJournal(t, path)
	j, err := journal.Open(path, journal.Options{Format: store.Format, Reserve: -1})
	must(t, err)
	defer j.Close()
	var inspected map[string]container.InspectResponse
	var listed []container.Summary
	golden := func(name string, v any) {
		raw, err := os.ReadFile("testdata/v1/" + name)
		must(t, err)
		must(t, json.Unmarshal(raw, v))
	}
	golden("inspect.json", &inspected)
	golden("list.json", &listed)
	summaries := map[string]container.Summary{}
	for _, s := range listed {
		summaries[s.ID] = s
	}
	tried := 0
	must(t, j.View(func(s *journal.Snapshot) error {
		return record.All(s, func(r *record.Record) error {
			want, ok := inspected[r.ID]
			if !ok || r.Status == record.StatusRemoving { // its create or removal was not finished
				return nil
			}
			tried++
			if r.Unknown != nil || r.Config.Unknown != nil || r.HostConfig.Unknown != nil {
				t.Errorf("unknown of %s: %s, %s, %s", r.Name, r.Unknown, r.Config.Unknown, r.HostConfig.Unknown)
			}
			answer := inspect.Container(r, inspect.Place{
				Dir: "/ROOT/containers/" + r.ID, LogPath: want.LogPath, Snapshotter: want.Driver, ExecIDs: want.ExecIDs,
			})
			sameJSON(t, answer, want)
			summary := inspect.Summary(r, r.Created, nil)
			summary.Status = ""
			sameJSON(t, summary, summaries[r.ID])
			return nil
		})
	}))
	if tried < 9 {
		t.Errorf("%d containers were compared", tried)
	}
}

func sameJSON(t *testing.T, got, want any) {
	t.Helper()
	a, err := json.MarshalIndent(got, "", " ")
	must(t, err)
	b, err := json.MarshalIndent(want, "", " ")
	must(t, err)
	if !bytes.Equal(a, b) {
		t.Errorf("%s\nnot\n%s", a, b)
	}
}

// withRootfs are images with a root filesystem for each container, as the engine that made
// the containers had.
type withRootfs struct{ Images }

func (i withRootfs) Mounts(ctx context.Context, id string) ([]mount.Mount, error) {
	if mounts, err := i.Images.Mounts(ctx, id); err == nil {
		return mounts, nil
	}
	img, err := i.Resolve(ctx, "box")
	if err != nil {
		return nil, err
	}
	return i.PrepareRootfs(ctx, id, img)
}

// The engine opens the journal of format 1, finds out what happened to the containers that
// ran, and starts and removes each container.
func TestServeTodaysJournal(t *testing.T) {
	r := newRig(t)
	dir, err := os.MkdirTemp("", "oci")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	t.Cleanup(r.close)
	r.close()
	r.spool = dir
	r.images = func(ctx context.Context, root string) (Images, error) {
		s, err := images.Open(ctx, root, images.Options{})
		return withRootfs{s}, err
	}
	must(t, os.Remove(filepath.Join(r.root, JournalName)))
	unpackJournal(t, filepath.Join(r.root, JournalName))
	for _, id := range containerIDs(t, filepath.Join(r.root, JournalName)) {
		must(t, os.MkdirAll(r.root+"/containers/"+id, 0o700))
	}
	r.open()
	list, err := r.e.ContainerList(t.Context(), ListOptions{All: true})
	must(t, err)
	if len(list) != 10 {
		t.Errorf("%d containers", len(list))
	}
	// Its record was changed to that of a container which is being created: such a container has no event.
	const halfCreated = `event 39 says "create" of container c8ba0f12c303ff4ebb325c34ad157e3f33c2e86014303f835f4a864a3988f057, which does not exist`
	if found := r.findings(); found != halfCreated {
		t.Errorf("check finds %s", found)
	}
	for _, c := range list {
		if c.State == "exited" || c.State == "created" {
			if err := r.e.ContainerStart(t.Context(), c.ID); err != nil {
				t.Errorf("start %s: %v", c.Names[0], err)
			}
		}
		if err := r.e.ContainerRemove(t.Context(), c.ID, RemoveOptions{Force: true}); err != nil {
			t.Errorf("remove %s: %v", c.Names[0], err)
		}
	}
	for _, exit := range removedExits(t, r) {
		if got := receive(t, r.wait(exit, "")); got.Error != nil {
			t.Errorf("wait for %s: %+v", exit, got)
		}
	}
	eventually(t, func() bool { return r.findings() == halfCreated })
	r.empty()
}

func containerIDs(t *testing.T, path string) (ids []string) {
	t.Helper()
	j, err := journal.Open(path, journal.Options{Format: store.Format, Reserve: -1})
	must(t, err)
	records, _ := wholeJournal(t, j)
	must(t, j.Close())
	for name := range records {
		if id, ok := strings.CutPrefix(name, "container/"); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

func removedExits(t *testing.T, r *rig) (ids []string) {
	t.Helper()
	must(t, r.e.store.View(func(s *journal.Snapshot) error {
		return record.RemovedExits.ForEach(s, func(id string, _ *record.RemovedExit) error {
			ids = append(ids, id)
			return nil
		})
	}))
	if len(ids) < 2 {
		t.Errorf("removed: %q", ids)
	}
	return ids
}
