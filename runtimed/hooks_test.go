package runtimed_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/services/containers/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// hookedSpec has two hooks of each kind, which record their names. The first hook of one
// kind fails. Hooks read all of their stdin, since crun dies of SIGPIPE if one does not.
func (d *daemon) hookedSpec(log, fails string) *specs.Spec {
	spec := d.spec("c", "cat /tmp/hooks; echo ran; exec sleep 1000")
	hooks := func(kind, log string) []specs.Hook {
		var list []specs.Hook
		for _, n := range []string{"1", "2"} {
			code := "0"
			if n == "1" && kind == fails {
				code = "1"
			}
			list = append(list, specs.Hook{Path: "/bin/sh",
				Args: []string{"sh", "-c", "cat >/dev/null; echo " + kind + n + " >>" + log + "; exit " + code}})
		}
		return list
	}
	spec.Hooks = &specs.Hooks{
		Prestart:      hooks("prestart", log), //nolint:staticcheck // deprecated, and still run by every OCI runtime
		CreateRuntime: hooks("createRuntime", log), CreateContainer: hooks("createContainer", log),
		StartContainer: hooks("startContainer", "/tmp/hooks"), Poststart: hooks("poststart", log),
		Poststop: hooks("poststop", log),
	}
	return spec
}

// Every hook runs once, also over a restart of runtimed and a start that fails. A hook
// that fails has the effect that docs/design.md describes.
func TestHooks(t *testing.T) {
	const made = "prestart1 prestart2 createRuntime1 createRuntime2 createContainer1 createContainer2 "
	type outcome struct {
		fails, create string // create is the text of the create's error; empty for none
		exit          uint32 // 0 if the container runs
		log           string
	}
	all := map[string][]outcome{
		"runc": {
			{fails: "", log: made + "poststart1 poststart2 poststop1 poststop2"},
			{fails: "prestart", create: "hook", log: "prestart1 poststop1 poststop2"},
			{fails: "createRuntime", create: "hook", log: "prestart1 prestart2 createRuntime1 poststop1 poststop2"},
			{fails: "createContainer", create: "hook",
				log: strings.TrimSuffix(made, "createContainer2 ") + "poststop1 poststop2"},
			{fails: "startContainer", exit: 1, log: made + "poststart1 poststart2 poststop1 poststop2"},
			{fails: "poststart", create: "hook", log: made + "poststart1 poststop1 poststop2"},
			{fails: "poststop", log: made + "poststart1 poststart2 poststop1"},
		},
		"crun": {
			{fails: "", log: made + "poststart1 poststart2 poststop1 poststop2"},
			{fails: "prestart", create: "hook", log: "prestart1"},
			{fails: "createRuntime", create: "hook", log: "prestart1 prestart2 createRuntime1"},
			{fails: "createContainer", create: "hook", log: strings.TrimSuffix(made, "createContainer2 ")},
			{fails: "startContainer", exit: 1, log: made + "poststart1 poststart2 poststop1 poststop2"},
			{fails: "poststart", log: made + "poststart1 poststart2 poststop1 poststop2"},
			{fails: "poststop", log: made + "poststart1 poststart2 poststop1 poststop2"},
		},
	}
	eachRuntime(t, func(t *testing.T, d *daemon) {
		before := d.traces()
		for _, want := range all[filepath.Base(t.Name())] {
			t.Run("fails="+want.fails, func(t *testing.T) {
				log := filepath.Join(d.dir, "hooks")
				d.record("c", d.hookedSpec(log, want.fails))
				s := d.open("streams"+want.fails, false)
				if err := d.create("c", s, false); want.create != "" {
					if err == nil || !strings.Contains(err.Error(), want.create) {
						t.Errorf("create: %v", err)
					}
				} else {
					check(t, err)
					d.throughLifecycle("c", s, want.exit, want.fails == "")
				}
				ctx, cancel := d.within()
				defer cancel()
				_, err := d.containers.Delete(ctx, &containers.DeleteContainerRequest{ID: "c"})
				check(t, err)
				check(t, s.set.Remove())
				equal(t, "what is left", d.traces(), before)
				text, err := os.ReadFile(log)
				check(t, err)
				equal(t, "hooks that ran", strings.Join(strings.Fields(string(text)), " "), strings.TrimSpace(want.log))
				check(t, os.Remove(log))
				inside := "startContainer1\nstartContainer2\nran\n"
				if want.create == "" && want.exit == 0 {
					equal(t, "output", s.end(), inside)
				}
			})
		}
	})
}

// throughLifecycle starts a created task and deletes it. With restarts, runtimed is restarted
// between any two steps.
func (d *daemon) throughLifecycle(id string, s *streams, exit uint32, restart bool) {
	d.t.Helper()
	ctx, cancel := d.within()
	defer cancel()
	if restart {
		d.killRuntimed()
	}
	d.start(id, "")
	if restart {
		d.killRuntimed()
		_, err := d.tasks.Start(ctx, &tasks.StartRequest{ContainerID: id})
		equal(d.t, "starting twice is refused", err != nil, true)
	}
	if exit == 0 {
		d.await("the container runs", func() bool { return strings.HasSuffix(s.sofar(), "ran\n") })
		_, err := d.tasks.Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: 9})
		check(d.t, err)
		exit = 137
	}
	equal(d.t, "exit status", d.wait(id, ""), exit)
	d.delete(id)
}
