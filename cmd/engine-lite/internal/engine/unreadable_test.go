package engine

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/external"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// spoilt are the ways in which this release can't read a record.
var spoilt = map[string]func(raw string) string{
	"newer schema": func(raw string) string { return `{"Schema":9,"New":{"x":1},` + raw[1:] },
	"newer form":   func(raw string) string { return strings.Replace(raw, `"Labels":{}`, `"Labels":[{"k":"v"}]`, 1) },
	"rubbish":      func(raw string) string { return raw[:40] },
	"no run":       func(raw string) string { return strings.Replace(raw, `"Generation":1`, `"Generation":"1"`, 1) },
	"no process":   func(raw string) string { return strings.Replace(raw, `"Pid":`, `"Pid":"","Process":`, 1) },
}

// storedAs is the JSON of a stored record.
func (r *rig) storedAs(kind, key string) (raw string, ok bool) {
	r.t.Helper()
	must(r.t, r.e.store.View(func(s *journal.Snapshot) error {
		var value []byte
		value, ok = s.Get(kind, key)
		raw = string(value)
		return nil
	}))
	return raw, ok
}

// spoil changes the containers' records before the next engine opens.
func (r *rig) spoil(how func(string) string, ids ...string) {
	r.t.Helper()
	r.reopen(func(tx *store.Tx) error {
		for _, id := range ids {
			raw, _ := tx.Get(record.Containers.Name, id)
			if err := rawContainers.Put(tx, id, how(string(raw))); err != nil {
				return err
			}
		}
		return nil
	})
}

// A container whose record cannot be read is shown, keeps its name, is not started, and can be removed.
func TestUnreadableRecord(t *testing.T) {
	for name, how := range spoilt {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			id := r.run("ended", "exit 3")
			r.ended(id)
			other := r.create("other", "true")
			r.spoil(how, id)
			raw, _ := r.storedAs("container", id)
			list, err := r.e.ContainerList(t.Context(), ListOptions{All: true})
			must(t, err)
			if len(list) != 2 || !strings.Contains(list[0].Status+list[1].Status, "record cannot be read") {
				t.Errorf("list: %+v", list)
			}
			in, err := r.e.ContainerInspect(t.Context(), "ended", false)
			must(t, err)
			if in.ID != id || in.Name != "/ended" || in.State.Running ||
				!strings.Contains(in.State.Error, "this version of engine-lite cannot read the container record") {
				t.Errorf("inspect: %+v, %+v", in, in.State)
			}
			for what, err := range map[string]error{
				"start":   r.e.ContainerStart(t.Context(), id),
				"restart": r.e.ContainerRestart(t.Context(), id, StopOptions{}),
				"rename":  r.e.ContainerRename(t.Context(), id, "new"),
			} {
				if !errdefs.IsFailedPrecondition(err) ||
					!strings.Contains(err.Error(), "can only be stopped or removed") {
					t.Errorf("%s: %v", what, err)
				}
			}
			if _, err := r.e.ContainerCreate(t.Context(), "ended",
				createRequest("true"), CreateOptions{}); !errdefs.IsConflict(err) {
				t.Errorf("its name is free: %v", err)
			}
			if found := r.findings(); !strings.HasPrefix(found, "the container record "+id) ||
				strings.Contains(found, "\n") {
				t.Errorf("check finds %s", found)
			}
			r.reopen()
			if now, _ := r.storedAs("container", id); now != raw {
				t.Errorf("the record was %s\nand is %s", raw, now)
			}
			must(t, r.e.ContainerRemove(t.Context(), other, RemoveOptions{}))
			if pruned, err := r.e.ContainerPrune(t.Context(), nil); err != nil || len(pruned.ContainersDeleted) > 0 {
				t.Errorf("prune: %+v, %v", pruned, err)
			}
			must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
			if got := receive(t, r.wait(id, "")); got.StatusCode != 3 {
				t.Errorf("its exit: %+v", got)
			}
			if found := r.findings(); found != "" {
				t.Errorf("check finds %s", found)
			}
			r.empty()
		})
	}
}

// A container that runs is restored, and its exit is stored beside its record. A release
// that can read both joins them.
func TestUnreadableRecordOfARun(t *testing.T) {
	for name, how := range spoilt {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			id := r.run("runs", "sleep 1000",
				func(q *container.CreateRequest) { q.HostConfig.RestartPolicy.Name = "unless-stopped" })
			removed := r.run("removed", "sleep 1000", autoRemove)
			readable, _ := r.storedAs("container", id)
			r.spoil(how, id, removed)
			raw, _ := r.storedAs("container", id)
			for range 2 {
				if v := r.task(id).View(); !v.Record.Running() || v.Record.Generation != 1 {
					t.Fatalf("it runs, and is %+v", v.Record)
				}
				r.reopen()
			}
			if _, err := r.e.ExecCreate(t.Context(), id,
				container.ExecCreateRequest{Cmd: []string{"true"}}); !errdefs.IsFailedPrecondition(err) {
				t.Errorf("exec: %v", err)
			}
			must(t, r.e.ContainerPause(t.Context(), id))
			must(t, r.e.ContainerUnpause(t.Context(), id))
			next := r.wait(id, container.WaitConditionNextExit)
			must(t, r.e.ContainerStop(t.Context(), id, StopOptions{}))
			code := receive(t, next).StatusCode
			r.ended(id)
			must(t, r.e.ContainerRemove(t.Context(), removed, RemoveOptions{Force: true}))
			r.reopen()
			if v := r.task(id).View(); v.Record.Status != record.StatusExited || int64(v.Record.ExitCode) != code {
				t.Errorf("it has ended with %d, and is %+v", code, v.Record)
			}
			if now, _ := r.storedAs("container", id); now != raw {
				t.Errorf("the record was %s\nand is %s", raw, now)
			}
			r.reopen(func(tx *store.Tx) error { return rawContainers.Put(tx, id, readable) })
			rec := r.task(id).Record()
			if _, left := r.storedAs(record.Amendments.Name, id); left || rec.Unreadable() != nil ||
				rec.Status != record.StatusExited ||
				int64(rec.ExitCode) != code || rec.Exits != 1 || rec.DieSeq == 0 ||
				rec.HostConfig.RestartPolicy.Name != "unless-stopped" {
				t.Errorf("joined: %+v", rec)
			}
			if found := r.findings(); found != "" {
				t.Errorf("check finds %s", found)
			}
			must(t, r.e.ContainerStart(t.Context(), id))
			must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
			r.empty()
		})
	}
}

// A container that ended meanwhile is handled as its record says.
func TestUnreadableRecordThatIsReadAgain(t *testing.T) {
	r := newRig(t)
	again := r.run("again", "sleep 1000",
		func(q *container.CreateRequest) { q.HostConfig.RestartPolicy.Name = "always" })
	removed := r.run("removed", "sleep 1000", autoRemove)
	was := map[string]string{}
	for _, id := range []string{again, removed} {
		was[id], _ = r.storedAs("container", id)
	}
	r.spoil(spoilt["newer schema"], again, removed)
	for _, id := range []string{again, removed} {
		must(t, r.daemon.Kill(t.Context(), id, libcontainerd.InitProcess, 9, true))
		r.ended(id)
		if v := r.task(id).View(); v.Gone || v.Record.Status != record.StatusExited {
			t.Errorf("%+v", v)
		}
	}
	r.reopen(func(tx *store.Tx) error {
		for id, raw := range was {
			if err := rawContainers.Put(tx, id, raw); err != nil {
				return err
			}
		}
		return nil
	})
	eventually(t, func() bool { return r.task(again).Record().Generation == 2 })
	eventually(t, func() bool { _, err := r.e.registry.Find(removed); return errdefs.IsNotFound(err) })
	must(t, r.e.ContainerRemove(t.Context(), again, RemoveOptions{Force: true}))
	r.empty()
}

// A record of an exec or of an external container that cannot be read stays, and the engine serves.
func TestUnreadableOthers(t *testing.T) {
	f := newOutsider(t)
	f.note(f.created(), done("start"))
	f.events("create", "start")
	id := f.run("", "sleep 1000")
	exec := f.exec(id, "sleep 1000")
	raw := store.Text("exec", "raw exec")
	run := store.Text(external.Records.Name, "raw external container")
	f.reopen(func(tx *store.Tx) error { return raw.Put(tx, exec, `{"Schema":9}`) },
		func(tx *store.Tx) error { return run.Put(tx, "r1", "{") })
	if v := f.task(id).View(); !v.Record.Running() {
		t.Errorf("%+v", v.Record)
	}
	if got, _ := f.storedAs("exec", exec); got != `{"Schema":9}` {
		t.Errorf("the exec's record is %q", got)
	}
	f.note(done("pause"))
	must(t, f.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	if got, _ := f.storedAs(external.Records.Name, "r1"); got != "{" {
		t.Errorf("the external container's record is %q", got)
	}
	f.events("create", "start")
}

// TestUnreadableExec has records of execs that cannot be read. Each goes with its container; one whose container is
// gone already goes at the start of the engine.
func TestUnreadableExec(t *testing.T) {
	raw := store.Text(record.Execs.Name, "raw exec")
	r := newRig(t)
	id, other := r.create("c1", "exit 0"), r.create("c2", "exit 0")
	r.reopen(func(tx *store.Tx) error {
		return errors.Join(
			raw.Put(tx, "newer", `{"Schema":9,"ID":"newer","Container":"`+id+`","Cmd":1}`),
			raw.Put(tx, "form", `{"ID":"form","Container":"`+id+`","Pid":"7"}`),
			raw.Put(tx, "others", `{"ID":"others","Container":"`+other+`","Request":{}}`),
			raw.Put(tx, "orphan", `{"Schema":9,"ID":"orphan","Container":"removed"}`),
		)
	})
	left := func(want ...string) {
		t.Helper()
		var got []string
		must(t, r.e.store.View(func(s *journal.Snapshot) error {
			return s.ForEach(record.Execs.Name, func(id string, _ []byte) error { got = append(got, id); return nil })
		}))
		if !slices.Equal(got, want) {
			t.Errorf("records of %v are left, want %v", got, want)
		}
	}
	left("form", "newer", "others")
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	left("others")
	r.reopen(edit(other, func(rec *record.Record) { rec.Status = record.StatusRemoving })) // killed in a removal
	left()
	r.empty()
}
