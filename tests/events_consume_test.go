package tests

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/engine-lite/engine-lite/events"
)

// TestConsumeOverKills runs a consumer of the events. The engine is killed again and again
// while containers end, and the consumer is ended and started again. The consumer must
// have each event.
func TestConsumeOverKills(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	d := oneDocker(t, r)
	client := events.Unix(r.socket())
	defer client.Close()
	cursor := events.File(filepath.Join(t.TempDir(), "cursor"))
	begin, err := client.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := cursor.Save(t.Context(), begin); err != nil {
		t.Fatal(err)
	}

	const rounds = 3
	codes := map[string]string{} // the exit code of each container's die event, by name
	seen := map[string]string{}
	refused := map[string]bool{}
	last := begin.Seq
	handle := func(e events.Event) error {
		if e.Seq != last+1 {
			t.Errorf("event %d came after %d", e.Seq, last)
		}
		name := e.Attributes["name"]
		if e.Action == "die" && strings.HasPrefix(name, "last-") && !refused[name] {
			refused[name] = true
			return errLastEvent // the event comes again
		}
		last = e.Seq
		if e.Action == "die" {
			if before, again := seen[name]; again {
				t.Errorf("%s died twice: %s, %s", name, before, e.Attributes["exitCode"])
			}
			seen[name] = e.Attributes["exitCode"]
		}
		return nil
	}
	for round := range rounds {
		consumed := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
		go func() { consumed <- events.Consume(ctx, client, cursor, handle) }()
		for i := range 4 {
			name := fmt.Sprintf("c%d-%d", round, i)
			codes[name] = fmt.Sprint(10*round + i)
			d.ok(t, "run", "-d", "--network", "none", "--name", name, "busybox", "sh", "-c",
				fmt.Sprintf("sleep 0.%d; exit %s", i, codes[name]))
		}
		r.kill(t, r.enginePid())
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		for name := range codes {
			d.ok(t, "wait", name)
		}
		name := fmt.Sprintf("last-%d", round)
		codes[name] = "0"
		d.ok(t, "run", "--network", "none", "--name", name, "busybox", "true")
		if err := <-consumed; !errors.Is(err, errLastEvent) {
			t.Errorf("round %d: %v", round, err)
		}
		cancel()
	}
	delete(codes, fmt.Sprintf("last-%d", rounds-1)) // no consumer ran after that
	for name, code := range codes {
		if got := seen[name]; got != code {
			t.Errorf("%s died with %q, not %s", name, got, code)
		}
	}
}

var errLastEvent = errors.New("the last event that is wanted")

// history returns all events so far.
func (r *rig) history(t testing.TB) []events.Event {
	t.Helper()
	client := events.Unix(r.socket())
	defer client.Close()
	now, err := client.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var list []events.Event
	if now.Seq == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	err = events.Consume(ctx, client, new(events.Memory), func(e events.Event) error {
		list = append(list, e)
		if e.Seq == now.Seq {
			return errLastEvent
		}
		return nil
	})
	if !errors.Is(err, errLastEvent) {
		t.Fatal(err)
	}
	return list
}
