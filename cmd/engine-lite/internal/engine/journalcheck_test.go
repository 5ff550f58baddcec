package engine

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/journal"
)

func (r *rig) findings() string {
	r.t.Helper()
	found, err := r.e.JournalCheck(r.t.Context())
	must(r.t, err)
	return strings.Join(found, "\n")
}

// lived makes containers in each state, one that was renamed and some that are gone.
func lived(r *rig) (exited string) {
	r.run("runs", "sleep 1000")
	paused := r.run("paused", "sleep 1000")
	must(r.t, r.e.ContainerPause(r.t.Context(), paused))
	r.create("created", "true")
	exited = r.run("exited", "exit 7")
	r.ended(exited)
	must(r.t, r.e.ContainerRename(r.t.Context(), exited, "renamed"))
	restarting := r.run("restarting", "exit 1", func(q *container.CreateRequest) { q.HostConfig.RestartPolicy.Name = "always" })
	r.until(restarting, func(v view) bool { return v.rec.Generation > 2 })
	must(r.t, r.e.ContainerRemove(r.t.Context(), restarting, RemoveOptions{Force: true}))
	r.ended(r.run("removed", "exit 3", autoRemove))
	return exited
}

func TestCheckJournal(t *testing.T) {
	r := newRig(t)
	id := lived(r)
	if got := r.findings(); got != "" {
		t.Errorf("of a sound journal: %s", got)
	}
	for says, spoil := range map[string]func(*journal.Tx) error{
		"has exit code 8, and event":    edit(id, func(r *record) { r.ExitCode = 8 }),
		`tells of "die"`:                edit(id, func(r *record) { r.Status = statusCreated }),
		"was started 9 times":           edit(id, func(r *record) { r.Generation = 9 }),
		`has the name "x"`:              edit(id, func(r *record) { r.Name = "x" }),
		`"lost" is written down for`:    func(tx *journal.Tx) error { tx.Put(kindName, "lost", []byte("c")); return nil },
		"makes no sense":                func(tx *journal.Tx) error { tx.Put(kindContainer, id, []byte("{")); return nil },
		`was last at "die", and it isn`: func(tx *journal.Tx) error { tx.Delete(kindContainer, id); return nil },
		"removed container gone has":    func(tx *journal.Tx) error { return keepExit(tx, &record{ID: "gone", ExitCode: 4}, 1, 1) },
	} {
		var restored []byte
		err := r.e.journal.Commit(t.Context(), func(tx *journal.Tx) error {
			before, _ := tx.Get(kindContainer, id)
			must(t, spoil(tx))
			tx.Append(journal.Event{Type: "container", ID: "gone", Action: "die", Attributes: map[string]string{"exitCode": "5"}})
			tx.Append(journal.Event{Type: "container", ID: "gone", Action: "destroy", Attributes: map[string]string{"exitCode": "5"}})
			restored = before
			return nil
		})
		must(t, err)
		if got := r.findings(); !strings.Contains(got, says) {
			t.Errorf("want %q, got %q", says, got)
		}
		must(t, r.e.journal.Commit(t.Context(), func(tx *journal.Tx) error {
			tx.Put(kindContainer, id, restored)
			tx.Delete(kindName, "lost")
			tx.Delete(kindBygone, "gone")
			return nil
		}))
		if got := r.findings(); got != "" {
			t.Fatalf("after %q was undone: %s", says, got)
		}
	}
}

func (r *rig) dump(opts DumpOptions) (records, events []string) {
	r.t.Helper()
	must(r.t, r.e.JournalDump(r.t.Context(), opts, func(line DumpLine) error {
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
	id := lived(r)
	records, events := r.dump(DumpOptions{Records: true})
	if all := strings.Join(records, "\n"); !strings.Contains(all, `{"record":{"kind":"container","key":"`+id+`","value":{"ID":"`+id) ||
		!strings.Contains(all, `{"record":{"kind":"name","key":"renamed","value":"`+id+`"}}`) {
		t.Errorf("records: %s", all)
	}
	if n := int(r.e.journal.Newest()); len(events) < 10 || len(events) != n || !strings.HasPrefix(events[n-1], `{"event":{"seq":`) {
		t.Errorf("%d events of %d", len(events), n)
	}
	after := uint64(3)
	records, some := r.dump(DumpOptions{After: &after, Limit: 2})
	if len(records) != 0 || len(some) != 2 || some[0] != events[3] || some[1] != events[4] {
		t.Errorf("a part: %q, %q", records, some)
	}
	ahead := r.e.journal.Newest() + 1
	var gone *HistoryGoneError
	if err := r.e.JournalDump(t.Context(), DumpOptions{After: &ahead}, nil); !errors.As(err, &gone) {
		t.Errorf("beyond the end: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.e.JournalDump(ctx, DumpOptions{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
