package tests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFullDisk fills the disk while containers run, kills the engine, and frees the disk
// again. On the full disk nothing new begins, each exit is recorded, and containers can be
// removed.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"tmpfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			fs := newDisk(t, kind, 128)
			r := startRig(t, &rig{args: []string{"--root", fs.dir}})
			testFullDisk(t, oneDocker(t, r), fs)
		})
	}
}

func testFullDisk(t *testing.T, d docker, fs *disk) {
	onSignal := func(code int, script string) []string {
		return []string{"busybox", "sh", "-c", fmt.Sprintf("trap 'exit %d' USR1; echo ready; %s", code, script)}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("engine's log:\n%s", d.logs("engine.log"))
		}
	})
	const waits = "while :; do sleep 1000 & wait; done"
	// A shell that waits for room in a pipe reacts only to SIGKILL.
	writes := []string{"busybox", "sh", "-c", "echo ready; while :; do echo a line of some length; sleep 0.02; done"}
	quiet := d.detached(t, onSignal(7, waits)...)
	chatty := d.detached(t, writes...)
	goes := d.detached(t, slices.Concat([]string{"--rm"}, onSignal(9, waits))...)
	later := d.detached(t, writes...)
	stays := d.sleeper(t)
	created := d.name(t)
	d.ok(t, "create", "--name", created, "--network", "none", "busybox", "true")
	gone := d.inspect(t, goes).ID
	for _, name := range []string{quiet, chatty, goes, later} {
		await(t, name+" is ready",
			func() bool { return strings.Contains(d.ok(t, "logs", "--tail", "1000000", name), "ready") })
	}
	signal := func(name string, sig syscall.Signal) {
		if err := syscall.Kill(d.inspect(t, name).State.Pid, sig); err != nil {
			t.Error(err)
		}
	}

	fs.fill(t)
	refusesNewWork(t, d, created, stays)
	signal(quiet, syscall.SIGUSR1)
	signal(chatty, syscall.SIGKILL)
	for name, code := range map[string]string{quiet: "7", chatty: "137"} {
		if out := d.ok(t, "wait", name); out != code {
			t.Errorf("docker wait %s: %s", name, out)
		}
	}
	signal(goes, syscall.SIGUSR1)
	await(t, "the container is removed", func() bool {
		return d.call(http.MethodGet, "/containers/"+gone+"/json", "").status == http.StatusNotFound
	})
	fs.fill(t) // what the removal freed

	signalled := d.inspect(t, later).State.Pid
	d.kill(t, d.enginePid())
	if err := syscall.Kill(signalled, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	await(t, "the container ends", func() bool { return !alive(signalled) })
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the exit is known", func() bool { return d.inspect(t, later).State.ExitCode == 137 })
	if !d.inspect(t, stays).State.Running {
		t.Error("the container that was left alone has ended")
	}
	if a := d.call(http.MethodPost, "/containers/"+gone+"/wait?condition=removed", ""); !strings.Contains(a.body,
		`"StatusCode":9`) {
		t.Errorf("late wait: %+v", a)
	}
	refusesNewWork(t, d, created, stays)
	dies := d.ok(t, "events", "--since", "1", "--until", fmt.Sprint(time.Now().Unix()+1), "--filter", "event=die",
		"--format", "{{.Actor.Attributes.exitCode}}")
	codes := strings.Fields(dies)
	if slices.Sort(codes); !slices.Equal(codes, []string{"137", "137", "7", "9"}) {
		t.Errorf("die events: %q", dies)
	}
	for _, name := range []string{quiet, chatty, later, created} {
		d.ok(t, "rm", name)
	}
	d.ok(t, "rm", "-f", stays)

	fs.free(t)
	if out := d.ok(t, "run", "--rm", "--network", "none", "busybox", "echo", "room"); out != "room" {
		t.Errorf("docker run: %q", out)
	}
}

// refusesNewWork checks that nothing new begins on a full disk, and that each error says
// why.
func refusesNewWork(t *testing.T, d docker, created, running string) {
	t.Helper()
	const full = "no space left on device"
	request := `{"Image":"busybox","Cmd":["true"],"HostConfig":{"NetworkMode":"none"}}`
	d.refused(t, http.StatusInsufficientStorage, full, http.MethodPost, "/containers/create", request)
	d.refused(t, http.StatusInsufficientStorage, full, http.MethodPost, "/containers/"+created+"/start", "")
	d.refused(t, http.StatusInsufficientStorage, full, http.MethodPost, "/containers/"+running+"/restart", "")
	d.refused(t, http.StatusInsufficientStorage, full, http.MethodPost, "/containers/"+running+"/exec",
		`{"Cmd":["true"]}`)
	d.refused(t, http.StatusInsufficientStorage, full, http.MethodPost, "/images/create?fromImage=localhost:1/x&tag=y",
		"")
	if status := d.inspect(t, created).State.Status; status != "created" {
		t.Errorf("a start that was refused left it %s", status)
	}
	var info struct{ Warnings []string }
	if err := json.Unmarshal([]byte(d.call(http.MethodGet, "/info", "").body), &info); err != nil {
		t.Error(err)
	}
	if !slices.ContainsFunc(info.Warnings, func(w string) bool { return strings.Contains(w, full) }) {
		t.Errorf("warnings: %q", info.Warnings)
	}
}
