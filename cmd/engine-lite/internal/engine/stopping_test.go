package engine

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// The next engine finishes a stop, from each step of it.
func TestStopOverEngines(t *testing.T) {
	soon, later := time.Now(), time.Now().Add(time.Hour)
	for name, test := range map[string]struct {
		stop    record.Stop
		restart bool
		ended   bool // without an event of the stop
		actions []string
	}{
		"signal not sent": {stop: record.Stop{Signal: syscall.SIGTERM, Deadline: later},
			actions: []string{"kill", "die", "stop"}},
		"no deadline": {stop: record.Stop{Signal: syscall.SIGTERM}, actions: []string{"kill", "die", "stop"}},
		"deadline over": {stop: record.Stop{Signal: syscall.SIGHUP, Deadline: soon, Sent: true},
			actions: []string{"kill", "die", "stop"}},
		"ended": {stop: record.Stop{Signal: syscall.SIGTERM, Deadline: soon, Sent: true}, ended: true,
			actions: []string{"stop"}},
		"restart": {stop: record.Stop{Signal: syscall.SIGTERM, Deadline: later}, restart: true,
			actions: []string{"kill", "die", "stop", "start", "restart"}},
		"restart, ended": {stop: record.Stop{Signal: syscall.SIGTERM, Deadline: soon, Sent: true}, restart: true,
			ended: true, actions: []string{"stop", "start", "restart"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			id := r.run("c1", "sleep 1000", withPolicy("always", 0))
			r.reopen(edit(id, func(rec *record.Record) {
				rec.Stop, rec.Stopped = &test.stop, true
				if test.restart {
					rec.RestartAt = time.Now()
				}
				if test.ended {
					rec.SetExited(143, "", false, time.Now())
				}
			}))
			want := append([]string{"create", "start"}, test.actions...)
			eventually(t, func() bool {
				got := r.actions(id)
				slices.Sort(got) // the event of a kill comes after the signal, maybe after the die
				sorted := slices.Sorted(slices.Values(want))
				return slices.Equal(got, sorted)
			})
			r.until(id, func(v containers.View) bool {
				return v.Record.Running() == test.restart && v.Record.Stop == nil && v.Record.Stopped != test.restart
			})
			must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
			r.empty()
		})
	}
}

// A stop that failed is over.
func TestStopThatFails(t *testing.T) {
	r := newRig(t)
	id := r.run("c1", "sleep 1000")
	r.daemon.Fail("Kill", 1, libFault(errdefs.ErrUnavailable))
	if err := r.e.ContainerStop(t.Context(), id, StopOptions{}); !errdefs.IsUnavailable(err) {
		t.Errorf("%v", err)
	}
	if rec := r.task(id).Record(); !rec.Running() || rec.Stop != nil {
		t.Errorf("%+v", rec)
	}
	r.reopen()
	if rec := r.task(id).Record(); !rec.Running() {
		t.Errorf("%+v", rec)
	}
	must(t, r.e.ContainerStop(t.Context(), id, StopOptions{}))
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.empty()
}

// Of two stops, the earlier deadline holds.
func TestTwoStops(t *testing.T) {
	for name, test := range map[string]struct{ first, second, want time.Duration }{
		"sooner":        {time.Hour, time.Minute, time.Minute},
		"later":         {time.Minute, time.Hour, time.Minute},
		"for ever":      {time.Minute, -1, time.Minute},
		"no more":       {-1, time.Minute, time.Minute},
		"both for ever": {-1, -1, -1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			id := r.run("c1", "sleep 1000")
			o := r.task(id)
			begin := time.Now()
			must(t, r.e.intend(t.Context(), o, syscall.SIGTERM, test.first, time.Time{}))
			must(t, r.e.intend(t.Context(), o, syscall.SIGTERM, test.second, time.Time{}))
			got := o.Record().Stop.Deadline
			if test.want < 0 != got.IsZero() || test.want > 0 &&
				(got.Before(begin.Add(test.want)) || got.After(time.Now().Add(test.want))) {
				t.Errorf("deadline %s", got)
			}
			must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
			r.empty()
		})
	}
}
