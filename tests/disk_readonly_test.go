package tests

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/engine-lite/engine-lite/journal"
)

// TestReadOnlyDisk makes the disk refuse the journal's writes while containers run, as a
// file system does when it becomes read-only. The containers run on, and the API says what
// is wrong. An exit waits until the disk works again. Then it is recorded with its code,
// by this engine or by the next one.
func TestReadOnlyDisk(t *testing.T) {
	t.Parallel()
	fs := newDisk(t, "tmpfs", 128)
	path := filepath.Join(fs.dir, "journal.db")
	j, err := journal.Open(path, journal.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	f := serveBlockFile(t, readFile(t, path))
	command(t, "mount", "--bind", f.path, path)
	t.Cleanup(func() { unmount(t, path) })
	d := oneDocker(t, startRig(t, &rig{args: []string{"--root", fs.dir}}))
	testReadOnlyDisk(t, d, f)
}

func testReadOnlyDisk(t *testing.T, d docker, f *blockFile) {
	script := []string{"busybox", "sh", "-c", "trap 'exit 7' USR1; echo ready; while :; do sleep 1000 & wait; done"}
	first, second := d.detached(t, script...), d.detached(t, script...)
	stays := d.sleeper(t)
	for _, name := range []string{first, second} {
		await(t, name+" is ready", func() bool { return d.ok(t, "logs", name) == "ready" })
	}
	end := func(name string) {
		pid := d.inspect(t, name).State.Pid
		if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
			t.Error(err)
		}
		await(t, "the process ends", func() bool { return !alive(pid) })
	}

	f.setRefuse(syscall.EROFS)
	const why = "read-only file system"
	create := `{"Image":"busybox","Cmd":["true"],"HostConfig":{"NetworkMode":"none"}}`
	d.refused(t, http.StatusInternalServerError, why, http.MethodPost, "/containers/create", create)
	d.refused(t, http.StatusServiceUnavailable, why, http.MethodPost, "/containers/create", create)
	d.refused(t, http.StatusServiceUnavailable, why, http.MethodPost, "/containers/"+stays+"/restart", "")
	if body := d.call(http.MethodGet, "/info", "").body; !strings.Contains(body, why) {
		t.Errorf("info does not tell: %s", body)
	}
	end(first)
	if !d.inspect(t, stays).State.Running {
		t.Error("a container does not run on")
	}
	f.setRefuse(0)
	if out := d.ok(t, "wait", first); out != "7" {
		t.Errorf("docker wait: %s", out)
	}

	f.setRefuse(syscall.EROFS)
	end(second)
	d.kill(t, d.enginePid())
	f.setRefuse(0)
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	if out := d.ok(t, "wait", second); out != "7" {
		t.Errorf("docker wait, of the next engine: %s", out)
	}
	dies := d.ok(t, "events", "--since", "1", "--until", fmt.Sprint(time.Now().Unix()+1), "--filter", "event=die",
		"--filter", "container="+first, "--filter", "container="+second,
		"--format", "{{.Actor.Attributes.exitCode}}")
	if dies != "7\n7" {
		t.Errorf("die events: %q", dies)
	}
	if !d.inspect(t, stays).State.Running {
		t.Error("a container does not run on")
	}
}
