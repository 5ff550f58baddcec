package engine

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/eventstream"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
)

func (r *rig) findings() string {
	r.t.Helper()
	found, err := r.e.JournalCheck(r.t.Context())
	must(r.t, err)
	return strings.Join(found, "\n")
}

// allStates makes containers in each state, a renamed one, and some that are removed.
func allStates(r *rig) (exited string) {
	r.run("runs", "sleep 1000")
	paused := r.run("paused", "sleep 1000")
	must(r.t, r.e.ContainerPause(r.t.Context(), paused))
	r.create("created", "true")
	exited = r.run("exited", "exit 7")
	r.ended(exited)
	must(r.t, r.e.ContainerRename(r.t.Context(), exited, "renamed"))
	restarting := r.run("restarting", "exit 1",
		func(q *container.CreateRequest) { q.HostConfig.RestartPolicy.Name = "always" })
	r.until(restarting, func(v containers.View) bool { return v.Record.Generation > 2 })
	must(r.t, r.e.ContainerRemove(r.t.Context(), restarting, RemoveOptions{Force: true}))
	r.ended(r.run("removed", "exit 3", autoRemove))
	return exited
}

func TestCheckJournal(t *testing.T) {
	r := newRig(t)
	id := allStates(r)
	if got := r.findings(); got != "" {
		t.Errorf("of a sound journal: %s", got)
	}
	for says, spoil := range map[string]func(*store.Tx) error{
		"has exit code 8, but event":  edit(id, func(r *record.Record) { r.ExitCode = 8 }),
		`says "die"`:                  edit(id, func(r *record.Record) { r.Status = record.StatusCreated }),
		"was started 9 times":         edit(id, func(r *record.Record) { r.Generation = 9 }),
		`has the name "x"`:            edit(id, func(r *record.Record) { r.Name = "x" }),
		`"lost" belongs to container`: func(tx *store.Tx) error { return record.Names.Put(tx, "lost", "c") },
		"unexpected end of JSON":      func(tx *store.Tx) error { return rawContainers.Put(tx, id, "{") },
		`says "die" of container`:     func(tx *store.Tx) error { record.Containers.Delete(tx, id); return nil },
		"removed container gone has": func(tx *store.Tx) error {
			return record.KeepExit(tx, &record.Record{ID: "gone", ExitCode: 4}, 1, 1)
		},
	} {
		var restored []byte
		err := r.e.store.Update(t.Context(), func(tx *store.Tx) error {
			before, _ := tx.Get(record.Containers.Name, id)
			must(t, spoil(tx))
			tx.Append(journal.Event{Type: "container", ID: "gone", Action: "die",
				Attributes: map[string]string{"exitCode": "5"}})
			tx.Append(journal.Event{Type: "container", ID: "gone", Action: "destroy",
				Attributes: map[string]string{"exitCode": "5"}})
			restored = before
			return nil
		})
		must(t, err)
		if got := r.findings(); !strings.Contains(got, says) {
			t.Errorf("want %q, got %q", says, got)
		}
		must(t, r.e.store.Update(t.Context(), func(tx *store.Tx) error {
			must(t, rawContainers.Put(tx, id, string(restored)))
			record.Names.Delete(tx, "lost")
			record.RemovedExits.Delete(tx, "gone")
			return nil
		}))
		if got := r.findings(); got != "" {
			t.Fatalf("after %q was undone: %s", says, got)
		}
	}
}

func (r *rig) dump(opts store.DumpOptions) (records, events []string) {
	r.t.Helper()
	must(r.t, r.e.JournalDump(r.t.Context(), opts, func(line store.DumpLine) error {
		raw, err := json.Marshal(line)
		must(r.t, err)
		if line.Event != nil {
			events = append(events, string(raw))
		} else {
			records = append(records, string(raw))
		}
		return nil
	}))
	return records, events
}

func TestDumpJournal(t *testing.T) {
	r := newRig(t)
	id := allStates(r)
	records, events := r.dump(store.DumpOptions{Records: true})
	if all := strings.Join(records, "\n"); !strings.Contains(all,
		`{"record":{"kind":"container","key":"`+id+`","value":{"ID":"`+id) ||
		!strings.Contains(all, `{"record":{"kind":"name","key":"renamed","value":"`+id+`"}}`) {
		t.Errorf("records: %s", all)
	}
	if n := int(r.e.store.Newest()); len(events) < 10 || len(events) != n ||
		!strings.HasPrefix(events[n-1], `{"event":{"seq":`) {
		t.Errorf("%d events of %d", len(events), n)
	}
	after := uint64(3)
	records, some := r.dump(store.DumpOptions{After: &after, Limit: 2})
	if len(records) != 0 || len(some) != 2 || some[0] != events[3] || some[1] != events[4] {
		t.Errorf("a part: %q, %q", records, some)
	}
	ahead := r.e.store.Newest() + 1
	var gone *eventstream.HistoryGoneError
	if err := r.e.JournalDump(t.Context(), store.DumpOptions{After: &ahead}, nil); !errors.As(err, &gone) {
		t.Errorf("beyond the end: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.e.JournalDump(ctx, store.DumpOptions{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
