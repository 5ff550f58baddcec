package engine

import (
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

func withPolicy(name container.RestartPolicyMode, tries int) func(*container.CreateRequest) {
	return func(req *container.CreateRequest) {
		req.HostConfig.RestartPolicy = container.RestartPolicy{Name: name, MaximumRetryCount: tries}
	}
}

// TestRestartDecision checks which exits are followed by a restart, and after which pause.
func TestRestartDecision(t *testing.T) {
	now := time.Now()
	for name, test := range map[string]struct {
		policy  record.RestartPolicyMode
		tries   int
		code    int
		unknown string
		count   int
		delay   time.Duration
		stopped bool
		ran     time.Duration
		want    time.Duration // 0 for no restart
	}{
		"no":              {policy: "no", code: 1},
		"none":            {code: 1},
		"always":          {policy: "always", want: record.FirstRestartDelay},
		"always, again":   {policy: "always", delay: time.Second, want: 2 * time.Second},
		"always, longest": {policy: "always", delay: 50 * time.Second, want: record.LongestRestartDelay},
		"always, after a good run": {policy: "always", delay: 50 * time.Second, ran: record.SteadyRun,
			want: record.FirstRestartDelay},
		"always, stopped":         {policy: "always", stopped: true},
		"unless-stopped":          {policy: "unless-stopped", code: 1, want: record.FirstRestartDelay},
		"unless-stopped, stopped": {policy: "unless-stopped", stopped: true},
		"on-failure":              {policy: "on-failure", code: 1, want: record.FirstRestartDelay},
		"on-failure, success":     {policy: "on-failure"},
		"on-failure, unknown":     {policy: "on-failure", unknown: "nobody saw it", want: record.FirstRestartDelay},
		"on-failure, last try":    {policy: "on-failure", code: 1, tries: 3, count: 2, want: record.FirstRestartDelay},
		"on-failure, no more":     {policy: "on-failure", code: 1, tries: 3, count: 3},
	} {
		r := &record.Record{
			HostConfig: &record.HostConfig{RestartPolicy: record.RestartPolicy{Name: test.policy,
				MaximumRetryCount: test.tries}},
			Status: record.StatusExited, ExitCode: test.code, ExitUnknown: test.unknown,
			RestartCount: test.count, RestartDelay: test.delay, Stopped: test.stopped,
		}
		r.PlanRestart(test.ran, now)
		restarts := test.want > 0
		if (r.Status == record.StatusRestarting) != restarts || restarts &&
			(!r.RestartAt.Equal(now.Add(test.want)) || r.RestartCount != test.count+1) || !restarts &&
			!r.RestartAt.IsZero() {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestRestartPolicy(t *testing.T) {
	r := newRig(t)
	id := r.create("", "exit 3", withPolicy("on-failure", 2))
	stays := r.wait(id, container.WaitConditionNextExit)
	ends := r.wait(id, container.WaitConditionNotRunning)
	if got := receive(t, ends).StatusCode; got != 0 {
		t.Errorf("before the start, wait says %d", got)
	}
	must(t, r.e.ContainerStart(t.Context(), id))
	ends = r.wait(id, container.WaitConditionNotRunning)
	if got := receive(t, stays).StatusCode; got != 3 {
		t.Errorf("wait says %d", got)
	}
	if got := receive(t, ends).StatusCode; got != 3 {
		t.Errorf("wait for the first exit says %d", got)
	}
	r.until(id, func(v containers.View) bool { return v.Announced == 3 })
	if got := r.actions(id); !slices.Equal(got, []string{"create", "start", "die", "start", "die", "start", "die"}) {
		t.Errorf("events %v", got)
	}
	if got, err := r.e.ContainerInspect(t.Context(), id, false); err != nil || got.RestartCount != 2 ||
		got.State.Status != "exited" || got.State.Restarting {
		t.Errorf("%+v, %v", got, err)
	}
	// A start by a user resets the count.
	must(t, r.e.ContainerStart(t.Context(), id))
	r.until(id, func(v containers.View) bool { return v.Record.Generation == 6 && !v.Record.Up() })
	r.ended(id)
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.empty()
}

// waiting makes a container that waits a long time for its restart.
func (r *rig) waiting(name string) string {
	id := r.run(name, "exit 3", withPolicy("always", 0))
	r.until(id, func(v containers.View) bool { return v.Record.Status == record.StatusRestarting })
	r.reopen(edit(id, func(rec *record.Record) {
		rec.Status, rec.RestartAt, rec.RestartDelay = record.StatusRestarting, time.Now().Add(time.Hour), time.Hour
		rec.Pid, rec.Exits = 0, rec.Generation
	}))
	return id
}

// TestWhileRestarting checks what users can do with a container between two runs.
func TestWhileRestarting(t *testing.T) {
	for name, test := range map[string]struct {
		do    func(r *rig, id string) error
		check func(error) bool
		want  record.Status
	}{
		"stop": {func(r *rig, id string) error { return r.e.ContainerStop(r.t.Context(), id, StopOptions{}) },
			isNil, record.StatusExited},
		"kill": {func(r *rig, id string) error { return r.e.ContainerKill(r.t.Context(), id, "") }, isNil,
			record.StatusExited},
		"hup": {func(r *rig, id string) error { return r.e.ContainerKill(r.t.Context(), id, "HUP") },
			errdefs.IsConflict, record.StatusRestarting},
		"remove": {func(r *rig, id string) error { return r.e.ContainerRemove(r.t.Context(), id, RemoveOptions{}) },
			errdefs.IsConflict, record.StatusRestarting},
		"pause": {func(r *rig, id string) error { return r.e.ContainerPause(r.t.Context(), id) }, errdefs.IsConflict,
			record.StatusRestarting},
		"rename": {func(r *rig, id string) error { return r.e.ContainerRename(r.t.Context(), id, "other") }, isNil,
			record.StatusRestarting},
		"nothing": {func(*rig, string) error { return nil }, isNil, record.StatusRestarting},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			id := r.waiting("c1")
			shown, err := r.e.ContainerInspect(t.Context(), id, false)
			must(t, err)
			if s := shown.State; !s.Running || !s.Restarting || s.Status != "restarting" || s.ExitCode != 3 {
				t.Errorf("%+v", s)
			}
			if err := test.do(r, id); !test.check(err) {
				t.Errorf("%v", err)
			}
			if got := r.task(id).Record(); got.Status != test.want ||
				got.RestartAt.IsZero() != (test.want == record.StatusExited) {
				t.Errorf("%+v", got)
			}
			must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
			r.empty()
		})
	}
}

func isNil(err error) bool { return err == nil }

// A start does not wait for the pause before a restart, and neither does a restart by a
// user.
func TestStartWhileRestarting(t *testing.T) {
	for name, do := range map[string]func(r *rig, id string) error{
		"start":   func(r *rig, id string) error { return r.e.ContainerStart(r.t.Context(), id) },
		"restart": func(r *rig, id string) error { return r.e.ContainerRestart(r.t.Context(), id, StopOptions{}) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			id := r.waiting("c1")
			must(t, do(r, id))
			r.until(id, func(v containers.View) bool { return v.Record.Generation > 1 })
			must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
			r.empty()
		})
	}
}

// The next engine restarts a container at the deadline that the last one has set, goes on
// with the count, and finishes a restart by a user.
func TestRestartOverEngines(t *testing.T) {
	r := newRig(t)
	policy := r.run("policy", "sleep 1000", withPolicy("on-failure", 5))
	user := r.run("user", "sleep 1000", autoRemove)
	stopped := r.run("stopped", "sleep 1000", withPolicy("always", 0))
	must(t, r.e.ContainerStop(t.Context(), stopped, StopOptions{}))
	deadline := time.Now().Add(300 * time.Millisecond)
	r.reopen(
		edit(policy, func(rec *record.Record) {
			rec.SetExited(7, "", false, time.Now())
			rec.Status, rec.RestartAt, rec.RestartCount, rec.RestartDelay = record.StatusRestarting, deadline, 3,
				time.Second
		}),
		edit(user, func(rec *record.Record) {
			rec.SetExited(143, "", false, time.Now())
			rec.RestartAt, rec.Stopped = time.Now(), true
		}))
	for _, id := range []string{policy, user} {
		r.until(id, func(v containers.View) bool { return v.Record.Running() && v.Record.Generation == 2 })
	}
	if rec := r.task(policy).Record(); rec.StartedAt.Before(deadline) || rec.RestartCount != 3 ||
		!rec.RestartAt.IsZero() {
		t.Errorf("%+v", rec)
	}
	if rec := r.task(stopped).Record(); rec.Status != record.StatusExited || rec.Generation != 1 {
		t.Errorf("%+v", rec)
	}
	for _, id := range []string{policy, user, stopped} {
		must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	}
	r.empty()
}

// A restart that fails is tried again, later each time.
func TestRestartThatFails(t *testing.T) {
	r := newRig(t)
	id := r.create("", "exit 3", withPolicy("always", 0))
	r.daemon.Fail("CreateTask", 2, libFault(errdefs.ErrUnavailable))
	must(t, r.e.ContainerStart(t.Context(), id))
	r.until(id, func(v containers.View) bool {
		return v.Record.Generation >= 3 && v.Record.Status == record.StatusRestarting
	})
	if got := r.actions(id)[:6]; !slices.Equal(got, []string{"create", "start", "die", "die", "start", "die"}) {
		t.Errorf("events %v", got)
	}
	if rec := r.task(id).Record(); rec.RestartDelay < 4*record.FirstRestartDelay {
		t.Errorf("%+v", rec)
	}
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	r.empty()
}

// A stop at any moment of a restart leaves the container stopped.
func TestStopRacesRestart(t *testing.T) {
	r := newRig(t)
	for range 20 {
		id := r.run("", "exit 3", withPolicy("always", 0))
		for seen := uint64(0); seen < 2; {
			r.until(id, func(v containers.View) bool { return v.Record.Generation > seen })
			seen = r.task(id).Record().Generation
		}
		if err := r.e.ContainerStop(t.Context(), id, StopOptions{}); err != nil && !errdefs.IsNotModified(err) {
			t.Fatal(err)
		}
		r.ended(id)
		if rec := r.task(id).Record(); rec.Up() || !rec.RestartAt.IsZero() {
			t.Fatalf("%+v", rec)
		}
		must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	}
	r.empty()
}

// TestRestartBesideLeftover has restarts fail before they begin: what a failed one has left at the runtime daemon cannot be
// deleted for some time. The restart is not forgotten.
func TestRestartBesideLeftover(t *testing.T) {
	r := newRig(t)
	id := r.create("", "exit 3", withPolicy("always", 0))
	r.daemon.Fail("CreateTask", 2, libFault(errdefs.ErrUnavailable))
	for _, nth := range []int{2, 3, 4, 5} { // the first is that of the first run
		r.daemon.Fail("DeleteContainer", nth, libFault(errdefs.ErrUnavailable))
	}
	must(t, r.e.ContainerStart(t.Context(), id))
	r.until(id, func(v containers.View) bool { return v.Record.Generation >= 3 })
	if got := r.actions(id)[:5]; !slices.Equal(got, []string{"create", "start", "die", "die", "start"}) {
		t.Errorf("events %v", got)
	}
	if n := r.daemon.Calls("DeleteContainer"); n < 5 {
		t.Errorf("%d deletions were tried: the restart was not refused", n)
	}
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	r.empty()
}
