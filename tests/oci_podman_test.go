package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// podman is a podman with directories of its own and engine-lite-oci as its runtime.
type podman struct {
	*rig
	args []string
}

// newPodman uses a script as the runtime, since podman runs the runtime without the
// environment, and its clean-up without the runtime's flags.
func newPodman(t *testing.T, r *rig) podman {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "elp") // short: conmon makes sockets below it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	runtime := filepath.Join(dir, "oci")
	script := fmt.Sprintf("#!/bin/sh\nENGINE_LITE_RUN=%s exec %s \"$@\"\n", r.runDir(), r.file("bin/engine-lite-oci"))
	if err := os.WriteFile(runtime, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return podman{r, []string{
		"--root", dir + "/root", "--runroot", dir + "/run", "--tmpdir", dir + "/tmp", "--storage-driver", "vfs",
		"--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", runtime,
	}}
}

func (p podman) run(t *testing.T, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "podman", append(p.args[:len(p.args):len(p.args)], args...)...)
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatalf("podman %q: %v", args, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func (p podman) ok(t *testing.T, args ...string) string {
	t.Helper()
	r := p.run(t, args...)
	if r.code != 0 {
		t.Fatalf("podman %q: exit code %d\n%s", args, r.code, r.stderr)
	}
	return strings.TrimSpace(r.stdout)
}

// alone is a "podman run" without a network, and with limits that a host without
// CAP_SYS_RESOURCE allows.
func (podman) alone(args ...string) []string {
	return append([]string{"run", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"},
		args...)
}

// TestPodman runs podman's containers by the OCI command line: exit codes, output,
// terminals, execs, and the events at the engine.
func TestPodman(t *testing.T) {
	r := sharedRig(t)
	p := newPodman(t, r)
	box := filepath.Join(t.TempDir(), "box.tar")
	if out, err := exec.CommandContext(t.Context(), "tar", "-C", busyboxRootfs(t), "-cf",
		box, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	p.ok(t, "import", box, "box")

	for code, script := range map[int]string{0: "echo out", 7: "echo out; echo err >&2; exit 7"} {
		got := p.run(t, p.alone("--rm", "box", "sh", "-c", script)...)
		if got.code != code || got.stdout != "out\n" || (code == 7) != (got.stderr == "err\n") {
			t.Errorf("run: %+v", got)
		}
	}
	if got := p.run(t, p.alone("--rm", "--tty", "box", "sh", "-c", "echo out; exit 4")...); got.code != 4 ||
		got.stdout != "out\r\n" {
		t.Errorf("run --tty: %+v", got)
	}
	if got := p.run(t, p.alone("--rm", "box", "nosuch")...); got.code != 127 {
		t.Errorf("a command that isn't there: %+v", got)
	}

	id := p.ok(t, p.alone("--detach", "box", "sh", "-c",
		"trap 'exit 3' TERM; echo up; while :; do sleep 1000 & wait; done")...)
	await(t, "its output", func() bool { return p.run(t, "logs", id).stdout == "up\n" })
	if got := p.run(t, "exec", id, "sh", "-c", "echo in; exit 5"); got.code != 5 || got.stdout != "in\n" {
		t.Errorf("exec: %+v", got)
	}
	p.ok(t, "pause", id)
	p.ok(t, "unpause", id)
	p.ok(t, "stop", "--time", "30", id)
	if code := p.ok(t, "inspect", "--format", "{{.State.ExitCode}}", id); code != "3" {
		t.Errorf("exit code %s", code)
	}
	p.ok(t, "rm", id)
	p.awaitActions(t, id, "create", "start", "pause", "unpause", "die 3", "destroy")
	newOCI(t, r, "", nil).clean(t)
}

// awaitActions is awaitEvents for containers with podman's attributes.
func (p podman) awaitActions(t *testing.T, id string, want ...string) {
	t.Helper()
	var got []string
	if !holds(func() bool {
		got = got[:0]
		for _, event := range p.eventsOf(t, id) {
			action, _, _ := strings.Cut(event, " with attributes ")
			got = append(got, action)
		}
		return fmt.Sprint(got) == fmt.Sprint(want)
	}) {
		t.Errorf("events: %q, want %q", got, want)
	}
}
