package tests

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// healthJSON is the container's health in docker inspect.
type healthJSON struct {
	Status        string
	FailingStreak int
	Log           []probeJSON
}

type probeJSON struct {
	Start, End time.Time
	ExitCode   int
	Output     string
}

// health returns nil if the container has no health check.
func (d docker) health(t testing.TB, name string) (h *healthJSON) {
	t.Helper()
	var state struct{ Health *healthJSON }
	if err := json.Unmarshal([]byte(d.format(t, name, "{{json .State}}")), &state); err != nil {
		t.Fatal(err)
	}
	return state.Health
}

func (d docker) awaitHealth(t testing.TB, name, status string) *healthJSON {
	t.Helper()
	var h *healthJSON
	if !holds(func() bool { h = d.health(t, name); return h != nil && h.Status == status }) {
		t.Fatalf("the container doesn't become %s: %+v", status, h)
	}
	return h
}

// TestHealth follows a container's health from starting to unhealthy, to healthy,
// and to its end.
func TestHealth(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		since := fmt.Sprint(time.Now().Unix())
		name := d.sleeper(t, "--health-cmd", "echo looking; test -f /ok", "--health-interval", "300ms",
			"--health-retries", "2")
		if h := d.health(t, name); h == nil || h.Status != "starting" && h.Status != "unhealthy" {
			t.Errorf("at the start: %+v", h)
		}
		h := d.awaitHealth(t, name, "unhealthy")
		if h.FailingStreak < 2 || len(h.Log) < 2 || h.Log[0].ExitCode != 1 || h.Log[0].Output != "looking\n" ||
			h.Log[0].End.Before(h.Log[0].Start) {
			t.Errorf("%+v", h)
		}
		listed := func(health string) string {
			return d.ok(t, "ps", "--filter", "name=^"+name+"$", "--filter", "health="+health, "--format", "{{.Status}}")
		}
		if out := listed("unhealthy"); !strings.HasSuffix(out, " (unhealthy)") {
			t.Errorf("docker ps: %q", out)
		}
		if out := listed("healthy"); out != "" {
			t.Errorf("docker ps of healthy ones: %q", out)
		}
		d.ok(t, "exec", name, "touch", "/ok")
		if h := d.awaitHealth(t, name, "healthy"); h.FailingStreak != 0 || len(h.Log) > 5 {
			t.Errorf("%+v", h)
		}
		if out := listed("healthy"); !strings.HasSuffix(out, " (healthy)") {
			t.Errorf("docker ps: %q", out)
		}
		d.ok(t, "kill", name)
		if out := d.ok(t, "ps", "-a", "--filter", "name=^"+name+"$", "--format", "{{.Status}}"); strings.Contains(out,
			"health") {
			t.Errorf("docker ps of an ended one: %q", out)
		}
		until := fmt.Sprint(time.Now().Unix() + 1)
		events := func(event string) []string {
			out := d.ok(t, "events", "--since", since, "--until", until, "--filter", "container="+name, "--filter",
				"event="+event, "--format", "{{.Action}}")
			return strings.Split(out, "\n")
		}
		if got := events("health_status"); !slices.Equal(got,
			[]string{"health_status: unhealthy", "health_status: healthy"}) {
			t.Errorf("events %q", got)
		}
		if got := events("exec_create"); len(got) < 3 || got[0] != "exec_create: /bin/sh -c echo looking; test -f /ok" {
			t.Errorf("events %q", got)
		}
		// Each probe with an event has ended, and the exec of this test too.
		if created, died := len(events("exec_create")), len(events("exec_die")); created != died {
			t.Errorf("%d execs were created, %d have ended", created, died)
		}
	})
}

// TestHealthOfImages runs containers that take their image's health check, change it, or
// have none.
func TestHealthOfImages(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		image := d.imageName(t)
		rootfs, err := busyboxTar()
		if err != nil {
			t.Fatal(err)
		}
		r := d.feed(t, strings.NewReader(string(rootfs)), "import", "-c", "ENV PATH=/bin",
			"-c", `HEALTHCHECK --interval=300ms --retries=1 CMD ["sh", "-c", "echo $STATE; exit $STATE"]`, "-", image)
		if r.code != 0 {
			t.Fatalf("docker import: %+v", r)
		}
		well := d.detached(t, "-e", "STATE=0", image, "sleep", "1000")
		ill := d.detached(t, "-e", "STATE=1", image, "sleep", "1000")
		slow := d.detached(t, "-e", "STATE=1", "--health-cmd", "echo slow; exec sleep 1000", "--health-timeout", "1s",
			image, "sleep", "1000")
		gone := d.detached(t, "--health-cmd", "/nothing", image, "sleep", "1000")
		none := d.detached(t, "-e", "STATE=1", "--no-healthcheck", image, "sleep", "1000")
		if h := d.awaitHealth(t, well, "healthy"); h.Log[0].ExitCode != 0 || h.Log[0].Output != "0\n" {
			t.Errorf("%+v", h)
		}
		if h := d.awaitHealth(t, ill, "unhealthy"); h.Log[0].ExitCode != 1 || h.Log[0].Output != "1\n" {
			t.Errorf("%+v", h)
		}
		d.awaitHealth(t, slow, "unhealthy")
		await(t, "a probe is ended after it has written", func() bool { // on a slow machine others are before
			return slices.ContainsFunc(d.health(t, slow).Log, func(p probeJSON) bool {
				return p.ExitCode == -1 && p.Output == "Health check exceeded timeout (1s): slow\n"
			})
		})
		if h := d.awaitHealth(t, gone, "unhealthy"); h.Log[0].ExitCode != 127 ||
			!strings.Contains(h.Log[0].Output, "/nothing") {
			t.Errorf("%+v", h)
		}
		if h := d.health(t, none); h != nil {
			t.Errorf("%+v", h)
		}
		if out := d.ok(t, "ps", "--filter", "name=^"+none+"$", "--filter", "health=none",
			"--format", "{{.Status}}"); out == "" || strings.Contains(out, "(") {
			t.Errorf("docker ps: %q", out)
		}
		d.ok(t, "kill", slow)
	})
}

// TestHealthRefused asks for health checks that are not possible.
func TestHealthRefused(t *testing.T) {
	t.Parallel()
	r := sharedRig(t)
	for field, why := range map[string]string{
		`"Interval":3`:          "Interval in Healthcheck cannot be less than 1ms",
		`"Timeout":999999`:      "Timeout in Healthcheck cannot be less than 1ms",
		`"StartPeriod":-1`:      "StartPeriod in Healthcheck cannot be less than 1ms",
		`"StartInterval":1`:     "StartInterval in Healthcheck cannot be less than 1ms",
		`"Retries":-1`:          "Retries in Healthcheck cannot be negative",
		`"Test":["CMD"]`:        "no command",
		`"Test":["HTTP","/"]`:   "NONE, CMD or CMD-SHELL",
		`"Test":"not a list"`:   "Test",
		`"Retries":"not a one"`: "Retries",
	} {
		r.refused(t, 400, why, "POST", "/containers/create", `{"Image":"busybox","Healthcheck":{`+field+`}}`)
	}
	r.refused(t, 400, "health=ill", "GET", `/containers/json?filters={"health":["ill"]}`, "")
}

// TestHealthRecovery kills the engine. The next one goes on with the health checks, and
// the probe that was running is gone.
func TestHealthRecovery(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	d := oneDocker(t, r)
	run := func(name string, args ...string) {
		d.ok(t, append([]string{"run", "-d", "--network", "none", "--name", name},
			append(args, "busybox", "sleep", "1000")...)...)
	}
	run("well", "--health-cmd", "true", "--health-interval", "3s")
	run("ill", "--health-cmd", "echo ill; exit 1", "--health-interval", "100ms", "--health-retries", "100000")
	run("stuck", "--health-cmd", "exec sleep 2000", "--health-interval", "100ms", "--health-timeout", "1h")
	run("ends", "--health-cmd", "true", "--health-interval", "100ms")
	d.awaitHealth(t, "well", "healthy")
	d.awaitHealth(t, "ends", "healthy")
	var before *healthJSON
	await(t, "some failures", func() bool { before = d.health(t, "ill"); return before.FailingStreak >= 5 })
	var probe int
	await(t, "the probe that hangs", func() bool {
		for line := range strings.Lines(d.ok(t, "top", "stuck", "-o", "pid,args")) {
			if _, err := fmt.Sscanf(line, "%d sleep 2000", &probe); err == nil {
				return true
			}
		}
		return false
	})
	ends := d.inspect(t, "ends").State.Pid
	r.kill(t, r.enginePid())
	r.kill(t, ends)
	if !alive(probe) {
		t.Error("the probe has gone with the engine")
	}
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	if h := d.health(t, "well"); h.Status != "healthy" || len(h.Log) == 0 {
		t.Errorf("the healthy one: %+v", h)
	}
	if h := d.health(t, "ill"); h.Status != "starting" || h.FailingStreak < before.FailingStreak || len(h.Log) != 5 ||
		h.Log[0].Output != "ill\n" {
		t.Errorf("the failing one: %+v, was %+v", h, before)
	}
	await(t, "the old probe is gone", func() bool { return !alive(probe) })
	await(t, "the end of the other", func() bool { return d.inspect(t, "ends").State.Status == "exited" })
	if h := d.health(t, "ends"); h.Status != "unhealthy" {
		t.Errorf("the one that has ended: %+v", h)
	}
	streak := d.health(t, "ill").FailingStreak
	await(t, "more failures", func() bool { return d.health(t, "ill").FailingStreak > streak })
	if out := d.ok(t, "events", "--since", "0", "--until", fmt.Sprint(time.Now().Unix()+1), "--filter",
		"event=health_status", "--filter", "container=well"); strings.Count(out, "\n") != 0 {
		t.Errorf("docker events: %s", out)
	}
}
