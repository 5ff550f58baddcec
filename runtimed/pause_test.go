package runtimed_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestPauseWhileForking pauses and resumes a container whose processes fork all the time.
// On control groups of version 1 the kernel sometimes fails to freeze such a group at the
// first try. The pause must succeed nevertheless.
func TestPauseWhileForking(t *testing.T) {
	period, quota := uint64(100_000), int64(5_000)
	bound := 4 * time.Second // for all pauses of a container; each fails or passes by itself
	if os.Getenv("ENGINE_LITE_LONG") != "" {
		bound = time.Minute
	}
	eachRuntime(t, func(t *testing.T, d *daemon) {
		for _, c := range []struct {
			id     string
			cpu    *specs.LinuxCPU
			pauses int
		}{
			// processes that wait for their CPU quota before they freeze
			{"slow", &specs.LinuxCPU{Period: &period, Quota: &quota}, 50},
			{"fast", nil, 450},
		} {
			spec := d.spec(c.id, "f() { while :; do (:); /bin/true; done; }; f & f & f & f & f & f & f & f & wait")
			spec.Linux.Resources = &specs.LinuxResources{CPU: c.cpu}
			d.runSpec(c.id, spec)
			began := time.Now()
			var n int
			for ; n < c.pauses && time.Since(began) < bound; n++ {
				d.pauseAndResume(c.id, n)
			}
			t.Logf("%s: %d pauses in %v", c.id, n, time.Since(began))
			check(t, kill(d, c.id))
			equal(t, "exit status", d.wait(c.id, ""), 137)
		}
	})
}

func kill(d *daemon, id string) error {
	_, err := d.tasks.Kill(d.ctx(), &tasks.KillRequest{ContainerID: id, Signal: 9})
	return err
}

// pauseAndResume checks that a pause freezes all processes, and that a resume thaws them.
func (d *daemon) pauseAndResume(id string, n int) {
	d.t.Helper()
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.Pause(ctx, &tasks.PauseTaskRequest{ContainerID: id})
	if err != nil {
		d.t.Errorf("pause %d of %s: %v", n, id, err)
	} else if state := d.freezerState(id); state != "FROZEN" {
		d.t.Errorf("container %s is %s after pause %d", id, state, n)
	}
	if err == nil {
		_, err = d.tasks.Resume(ctx, &tasks.ResumeTaskRequest{ContainerID: id})
		check(d.t, err)
	}
	if state := d.freezerState(id); state != "THAWED" {
		d.t.Fatalf("container %s is %s after pause %d is over", id, state, n)
	}
}

// freezerState reads the freezer of a container's control group: FROZEN, FREEZING or THAWED, in both versions of
// control groups.
func (d *daemon) freezerState(id string) string {
	d.t.Helper()
	path := "/" + groupsName + "/" + filepath.Base(d.dir) + id
	text, err := os.ReadFile("/sys/fs/cgroup/freezer" + path + "/freezer.state")
	if !errors.Is(err, os.ErrNotExist) {
		check(d.t, err)
		return strings.TrimSpace(string(text))
	}
	freeze, err := os.ReadFile("/sys/fs/cgroup" + path + "/cgroup.freeze")
	check(d.t, err)
	events, err := os.ReadFile("/sys/fs/cgroup" + path + "/cgroup.events")
	check(d.t, err)
	switch {
	case strings.TrimSpace(string(freeze)) == "0":
		return "THAWED"
	case strings.Contains(string(events), "frozen 1"):
		return "FROZEN"
	}
	return "FREEZING"
}
