package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// checked is a container with a health check that runs a script.
func checked(script string, more ...func(*container.HealthConfig)) func(*container.CreateRequest) {
	return func(req *container.CreateRequest) {
		req.Shell = []string{"sh", "-c"}
		req.Healthcheck = &container.HealthConfig{Test: []string{"CMD-SHELL", script}, Interval: 10 * time.Second,
			Timeout: 5 * time.Second, Retries: 2}
		for _, fn := range more {
			fn(req.Healthcheck)
		}
	}
}

// inVirtualTime runs a test in virtual time, which passes while all goroutines wait.
func inVirtualTime(t *testing.T, test func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		test(t, r)
		r.close()
	})
}

// health is the health in an inspect of a container.
func (r *rig) health(id string) *container.Health {
	r.t.Helper()
	c, err := r.e.ContainerInspect(r.t.Context(), id, false)
	must(r.t, err)
	return c.State.Health
}

// probed waits until a container's health has this status and n results.
func (r *rig) probed(id string, want container.HealthStatus, n int) *container.Health {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Hour)
	defer cancel()
	err := r.task(id).Await(ctx, func(v containers.View) bool {
		return v.Record.Health.Status == record.HealthStatus(want) && len(v.Record.Health.Log) >= n
	})
	if err != nil {
		r.t.Fatalf("%v: %+v", err, r.health(id))
	}
	return r.health(id)
}

// TestProbes checks the results of probes of each kind, and their times.
func TestProbes(t *testing.T) {
	command := func(test ...string) func(*container.HealthConfig) {
		return func(h *container.HealthConfig) { h.Test = test }
	}
	long := strings.Repeat("x", 4096-1 /* that many bytes are kept */)
	for name, c := range map[string]struct {
		check  func(*container.CreateRequest)
		status container.HealthStatus
		code   int
		output string
		events []string // of each probe
		took   time.Duration
	}{
		"success": {checked("echo fine"), "healthy", 0, "fine\n",
			[]string{"exec_create: sh -c echo fine", "exec_start: sh -c echo fine", "exec_die 0"}, 0},
		"failure": {checked("echo oh; sleep 2; exit 3"), "unhealthy", 3, "oh\n",
			[]string{"exec_create: sh -c echo oh; sleep 2; exit 3", "exec_start: sh -c echo oh; sleep 2; exit 3",
				"exec_die 3"}, 2 * time.Second},
		"timeout": {checked("sleep 1000"), "unhealthy", -1, "Health check exceeded timeout (5s)",
			[]string{"exec_create: sh -c sleep 1000", "exec_start: sh -c sleep 1000", "exec_die 137"}, 5 * time.Second},
		"timeout with output": {checked("echo slow; sleep 1000"), "unhealthy", -1,
			"Health check exceeded timeout (5s): slow\n",
			[]string{"exec_create: sh -c echo slow; sleep 1000", "exec_start: sh -c echo slow; sleep 1000",
				"exec_die 137"}, 5 * time.Second},
		"killed": {checked("kill -9 $$"), "unhealthy", 137, "",
			[]string{"exec_create: sh -c kill -9 $$", "exec_start: sh -c kill -9 $$", "exec_die 137"}, 0},
		"all that is kept": {checked("echo " + long), "healthy", 0, long + "\n",
			[]string{"exec_create: sh -c echo " + long, "exec_start: sh -c echo " + long, "exec_die 0"}, 0},
		"more than is kept": {checked("echo " + long + "; echo y"), "healthy", 0, long + "\n...",
			[]string{"exec_create: sh -c echo " + long + "; echo y", "exec_start: sh -c echo " + long + "; echo y",
				"exec_die 0"}, 0},
		"no such command": {checked("", command("CMD", "nosuch")), "unhealthy", -1,
			"executable file not found in $PATH",
			[]string{"exec_create: nosuch"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, r *rig) {
				id := r.run("", "sleep 100000", c.check)
				started := r.task(id).Record().StartedAt
				if h := r.health(id); h.Status != "starting" || len(h.Log) != 0 || h.Log == nil {
					t.Errorf("at the start: %+v", h)
				}
				h := r.probed(id, c.status, 2)
				first, second := h.Log[0], h.Log[1]
				for _, result := range h.Log {
					if result.ExitCode != c.code || !strings.Contains(result.Output, c.output) || len(c.output) > 0 &&
						strings.HasPrefix(c.output, "x") && result.Output != c.output {
						t.Errorf("%d, %q", result.ExitCode, result.Output)
					}
					if took := result.End.Sub(result.Start); took != c.took && c.code != 137 {
						t.Errorf("it took %v", took)
					}
				}
				if first.Start.Sub(started) != 10*time.Second {
					t.Errorf("the first probe came after %v", first.Start.Sub(started))
				}
				if c.code != 137 && c.took != 0 && second.Start.Sub(first.End) != 10*time.Second {
					t.Errorf("the second probe came after %v", second.Start.Sub(first.End))
				}
				want := slices.Concat([]string{"create", "start"}, c.events)
				switch c.status {
				case container.Healthy:
					want = slices.Concat(want, []string{"health_status: healthy"}, c.events)
				default:
					want = slices.Concat(want, c.events, []string{"health_status: unhealthy"})
				}
				if got := r.actionsWithCodes(id); !slices.Equal(got, want) {
					t.Errorf("events %q, want %q", got, want)
				}
				r.noExecsLeft(id)
				if n := len(r.e.processes.Of(id)); n != 1 {
					t.Errorf("%d processes are known, not the init process alone", n)
				}
			})
		})
	}
}

// actionsWithCodes is like actions, with the exit code if the event has one.
func (r *rig) actionsWithCodes(id string) []string {
	r.t.Helper()
	var list []string
	execs := map[string]string{}
	for c := r.e.store.Cursor(0); ; {
		ev, ok, err := c.Poll()
		must(r.t, err)
		if !ok {
			return list
		}
		if ev.ID != id {
			continue
		}
		action := ev.Action
		if code, ok := ev.Attributes["exitCode"]; ok {
			action += " " + code
		}
		if exec, ok := ev.Attributes["execID"]; ok &&
			(len(exec) != 64 || (strings.HasPrefix(action, "exec_create") == (execs[exec] != ""))) {
			r.t.Errorf("%s has execID %q", action, exec)
		} else if ok {
			execs[exec] = action
		}
		list = append(list, action)
	}
}

// TestQuietProbes checks that only changes of the status have events.
func TestQuietProbes(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, r *rig) {
		r.quiet = true
		r.reopen()
		id := r.run("", "sleep 100000", checked("exit 1"))
		if h := r.probed(id, "unhealthy", 4); h.FailingStreak != 4 {
			t.Errorf("%+v", h)
		}
		if got := r.actions(id); !slices.Equal(got, []string{"create", "start", "health_status: unhealthy"}) {
			t.Errorf("events %q", got)
		}
	})
}

// TestProbesWhilePaused checks that no probe begins in a paused container, and that the
// time of a running probe stands still.
func TestProbesWhilePaused(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, r *rig) {
		id := r.run("", "sleep 100000", checked("sleep 4; exit 0"))
		r.probed(id, "healthy", 1)
		must(t, r.e.ContainerPause(t.Context(), id))
		time.Sleep(time.Hour)
		if h := r.health(id); h.Status != "healthy" || len(h.Log) != 1 {
			t.Errorf("while paused: %+v", h)
		}
		resumed := time.Now()
		must(t, r.e.ContainerUnpause(t.Context(), id))
		h := r.probed(id, "healthy", 2)
		if after := h.Log[1].Start.Sub(resumed); after != 10*time.Second {
			t.Errorf("the first probe came %v after the pause", after)
		}
		time.Sleep(12 * time.Second) // into the next one
		if len(r.e.processes.Of(id)) != 2 {
			t.Fatal("no probe is under way")
		}
		must(t, r.e.ContainerPause(t.Context(), id))
		time.Sleep(time.Hour)
		must(t, r.e.ContainerUnpause(t.Context(), id))
		h = r.probed(id, "healthy", 3)
		if result := h.Log[2]; result.ExitCode != 0 || result.End.Sub(result.Start) < time.Hour {
			t.Errorf("the frozen probe: %+v", result)
		}
	})
}

// TestHealthOfRuns checks that the health begins anew with each run, and that a probe that
// is killed with its container has no result.
func TestHealthOfRuns(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, r *rig) {
		id := r.create("", "sleep 100000", checked("sleep 3", func(h *container.HealthConfig) { h.Retries = 1 }))
		if h := r.health(id); h != nil {
			t.Errorf("before the start: %+v", h)
		}
		must(t, r.e.ContainerStart(t.Context(), id))
		r.probed(id, "healthy", 1)
		time.Sleep(12 * time.Second) // into the next one
		must(t, r.e.ContainerKill(t.Context(), id, ""))
		r.ended(id)
		if h := r.health(id); h.Status != "unhealthy" || len(h.Log) != 1 {
			t.Errorf("after the end: %+v", h)
		}
		must(t, r.e.ContainerStart(t.Context(), id))
		if h := r.health(id); h.Status != "starting" || len(h.Log) != 1 {
			t.Errorf("started again: %+v", h)
		}
		must(t, r.e.ContainerRestart(t.Context(), id, StopOptions{Signal: "KILL"}))
		r.probed(id, "healthy", 2)
		must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
		synctest.Wait()
		for _, action := range r.actions(id) {
			if action == "health_status: unhealthy" {
				t.Errorf("events %q", r.actions(id))
			}
		}
		r.empty()
	})
}

// TestHealthOverRestart checks that the next engine goes on with status, results, and the
// time of the next probe.
func TestHealthOverRestart(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, r *rig) {
		id := r.run("", "sleep 100000", checked("exit 1", func(h *container.HealthConfig) { h.Retries = 3 }))
		h := r.probed(id, "starting", 2)
		due := h.Log[1].End.Add(10 * time.Second)
		time.Sleep(5 * time.Second)
		r.close()
		time.Sleep(time.Second)
		r.open()
		if h := r.health(id); h.Status != "starting" || h.FailingStreak != 2 || len(h.Log) != 2 {
			t.Errorf("after the restart: %+v", h)
		}
		h = r.probed(id, "unhealthy", 3)
		if !h.Log[2].Start.Equal(due) {
			t.Errorf("the next probe came at %v, was due at %v", h.Log[2].Start, due)
		}
		// A probe that was due meanwhile begins at once. A probe that is due too late begins after an interval.
		r.close()
		time.Sleep(time.Hour)
		opened := time.Now()
		r.open()
		h = r.probed(id, "unhealthy", 4)
		if late := h.Log[3].Start.Sub(opened); late > time.Second {
			t.Errorf("the overdue probe came after %v", late)
		}
		r.reopen(edit(id, func(rec *record.Record) { rec.Health.Due = time.Now().Add(time.Hour) }))
		opened = time.Now()
		h = r.probed(id, "unhealthy", 5)
		if after := h.Log[4].Start.Sub(opened); after > 11*time.Second {
			t.Errorf("after the clock was set back a probe came after %v", after)
		}
	})
}

// TestLeftProbe checks that the next engine ends a probe of a killed engine: at once or,
// in a paused container, when that is resumed.
func TestLeftoverProbe(t *testing.T) {
	for _, paused := range []bool{false, true} {
		t.Run(fmt.Sprintf("paused %v", paused), func(t *testing.T) {
			r := newRig(t)
			id := r.run("", "sleep 1000", checked("exit 0"))
			r.close()
			process := "probe-" + strings.Repeat("ab", 32)
			streams, err := r.streams.Create(t.Context(),
				libcontainerd.StreamsConfig{ContainerID: id, ProcessID: process})
			must(t, err)
			must(t, r.daemon.AddExec(t.Context(), id, process, libcontainerd.ExecConfig{
				Process: &specs.Process{Args: []string{"sh", "-c", "sleep 1000"}}, Stdio: streams.Paths(),
			}))
			_, err = r.daemon.Start(t.Context(), id, process)
			must(t, err)
			must(t, streams.Detach())
			lists := leftoversOf{withConn{r.streams}, map[string][]string{id: {process}}}
			if paused {
				must(t, r.daemon.Pause(t.Context(), id))
				must(t, editClosed(r, id, func(rec *record.Record) { rec.Status = record.StatusPaused }))
			}
			r.openWith(lists)
			if paused {
				eventually(t, func() bool { return r.task(id).Record().Status == record.StatusPaused })
				must(t, r.e.ContainerUnpause(t.Context(), id))
			}
			eventually(t, func() bool {
				_, err := r.daemon.Process(t.Context(), id, process)
				return errdefs.IsNotFound(err) && len(r.streams.Left()) == 1
			})
			if n := len(r.actions(id)); !paused && n != 2 {
				t.Errorf("events %q", r.actions(id))
			}
		})
	}
}

// leftoversOf are streams with leftovers of an earlier engine.
type leftoversOf struct {
	libcontainerd.Stdio
	left map[string][]string
}

func (l leftoversOf) Leftovers() (map[string][]string, error) { return l.left, nil }

// editClosed changes a record while no engine is open.
func editClosed(r *rig, id string, fn func(*record.Record)) error {
	j, err := journal.Open(r.root+"/journal.db", journal.Options{Format: store.Format})
	if err != nil {
		return err
	}
	if err := store.New(j, journalKinds()...).Update(context.Background(), edit(id, fn)); err != nil {
		return err
	}
	return j.Close()
}
