package tests

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ociTool is the OCI command line on one engine.
type ociTool struct {
	*rig
	runtime string
	wrap    []string
	rootfs  string
	groups  *groups
}

// ociRuntimes are the OCI runtimes of the tests, and the command that runs each.
var ociRuntimes = []struct {
	name string
	wrap []string
}{{"runc", nil}, {"crun", withoutUnified}}

func newOCI(t *testing.T, r *rig, runtime string, wrap []string) ociTool {
	t.Helper()
	return ociTool{rig: r, runtime: runtime, wrap: wrap, rootfs: busyboxRootfs(t), groups: newGroups(t)}
}

// ociID is as long as the ids of engines, since leftovers are found by the id.
func ociID() string {
	var id [32]byte
	_, _ = rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// bundle makes a bundle whose container runs a script.
func (o ociTool) bundle(t *testing.T, script string) string {
	t.Helper()
	spec := o.groups.place(scriptSpec(o.rootfs, script))
	spec.Annotations = map[string]string{"color": "red"}
	return writeBundle(t, spec)
}

func writeBundle(t *testing.T, spec *specs.Spec) string {
	t.Helper()
	dir := t.TempDir()
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// cmd is a command line whose output goes to files. Containers inherit these files.
func (o ociTool) cmd(t *testing.T, program string, args ...string) (cmd *exec.Cmd, stdout, stderr *os.File) {
	t.Helper()
	line := append(slices.Clone(o.wrap), program, "--run", o.runDir(), "--runtime", o.runtime)
	line = append(line, args...)
	cmd = exec.CommandContext(t.Context(), line[0], line[1:]...)
	for _, f := range []**os.File{&stdout, &stderr} {
		file, err := os.CreateTemp(t.TempDir(), "out")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		*f = file
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Env = os.Environ()
	return cmd, stdout, stderr
}

// run runs the command line and returns when it has ended.
func (o ociTool) run(t *testing.T, args ...string) result {
	t.Helper()
	return o.runWith(t, nil, args...)
}

func (o ociTool) runWith(t *testing.T, change func(*exec.Cmd), args ...string) result {
	t.Helper()
	cmd, stdout, stderr := o.cmd(t, o.file("bin/engine-lite-oci"), args...)
	if change != nil {
		change(cmd)
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%q: %v", args, err)
	}
	return result{stdout: content(t, stdout), stderr: content(t, stderr), code: cmd.ProcessState.ExitCode()}
}

func content(t *testing.T, f *os.File) string {
	t.Helper()
	data, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (o ociTool) ok(t *testing.T, args ...string) string {
	t.Helper()
	r := o.run(t, args...)
	if r.code != 0 {
		t.Fatalf("%s: %q: exit code %d\n%s", o.runtime, args, r.code, r.stderr)
	}
	return r.stdout
}

// ociStatus is what "state" prints.
type ociStatus struct {
	OCIVersion  string `json:"ociVersion"`
	ID          string
	Status      string
	Pid         int
	Bundle      string
	Annotations map[string]string
}

// state is the output of "state"; the zero value if the command fails.
func (o ociTool) state(t *testing.T, id string) (s ociStatus) {
	t.Helper()
	r := o.run(t, "state", id)
	if r.code != 0 {
		return s
	}
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		t.Fatalf("state: %v: %s", err, r.stdout)
	}
	return s
}

// clean fails the test if the command line has left files.
func (o ociTool) clean(t *testing.T) {
	t.Helper()
	var left []string
	ok := holds(func() bool {
		left = slices.DeleteFunc(namesIn(o.file("run/oci")),
			func(name string) bool { return name == "wake" || name == "state" })
		return len(left) == 0
	})
	for _, dir := range []string{"runc", "crun"} {
		left = append(left, namesIn(o.file("run/oci/state/"+dir))...)
	}
	if !ok || len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// eventsOf lists the actions of a container's events, with the exit code of each die.
func (r *rig) eventsOf(t testing.TB, id string) []string {
	t.Helper()
	list := []string{}
	for _, e := range r.history(t) {
		if e.ID != id {
			continue
		}
		action, a := e.Action, e.Attributes
		if action == "die" {
			action += " " + a["exitCode"]
			if a["exitUnknown"] != "" {
				action += " unknown"
			}
		}
		if a["name"] != id || a["color"] != "red" {
			action += fmt.Sprintf(" with attributes %v", a)
		}
		list = append(list, action)
	}
	return list
}

// awaitEvents waits until a container has these events.
func (r *rig) awaitEvents(t testing.TB, id string, want ...string) {
	t.Helper()
	var got []string
	if !holds(func() bool { got = r.eventsOf(t, id); return slices.Equal(got, want) }) {
		t.Errorf("events: %q, want %q", got, want)
	}
}

// TestOCILife takes a container from create to delete, twice with the same id.
func TestOCILife(t *testing.T) {
	r := sharedRig(t)
	for _, rt := range ociRuntimes {
		t.Run(rt.name, func(t *testing.T) {
			o := newOCI(t, r, rt.name, rt.wrap)
			id, again := ociID(), 2
			for range again { // the id of a deleted container can be used again
				bundle, pidFile := o.bundle(t, "echo out; echo err >&2; read x; exit 7"),
					filepath.Join(t.TempDir(), "pid")
				o.ok(t, "create", "--bundle", bundle, "--pid-file", pidFile, id)
				s := o.state(t, id)
				want := ociStatus{OCIVersion: s.OCIVersion, ID: id, Status: "created", Pid: pidIn(pidFile),
					Bundle: bundle, Annotations: map[string]string{"color": "red"}}
				if fmt.Sprint(s) != fmt.Sprint(want) || s.Pid == 0 || s.OCIVersion == "" {
					t.Errorf("state: %+v, want %+v", s, want)
				}
				o.ok(t, "kill", id, "0")
				o.ok(t, "start", id)
				// its stdin is /dev/null
				await(t, "it has ended", func() bool { return o.state(t, id).Status == "stopped" })
				o.ok(t, "delete", id)
			}
			events := []string{"create", "start", "die 7", "destroy"}
			r.awaitEvents(t, id, slices.Repeat(events, again)...)
			o.clean(t)
		})
	}
}

// TestOCIRun runs containers in the foreground, with descriptors and signals, and
// from the current directory.
func TestOCIRun(t *testing.T) {
	r := sharedRig(t)
	for _, rt := range ociRuntimes {
		t.Run(rt.name, func(t *testing.T) {
			o := newOCI(t, r, rt.name, rt.wrap)
			id := ociID()
			got := o.runWith(t, func(cmd *exec.Cmd) { cmd.Dir = o.bundle(t, "echo out; echo err >&2; exit 9") }, "run",
				id)
			if got != (result{"out\n", "err\n", 9}) {
				t.Errorf("run: %+v", got)
			}
			r.awaitEvents(t, id, "create", "start", "die 9", "destroy")

			id = ociID()
			gift := filepath.Join(t.TempDir(), "gift")
			if err := os.WriteFile(gift, []byte("given\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			got = o.runWith(t, func(cmd *exec.Cmd) {
				f, err := os.Open(gift)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { f.Close() })
				cmd.ExtraFiles = []*os.File{f}
			}, "run", "--preserve-fds", "1", "--keep", "--bundle", o.bundle(t, "cat <&3; exit 11"), id)
			if got != (result{"given\n", "", 11}) {
				t.Errorf("run --preserve-fds: %+v", got)
			}
			if s := o.state(t, id); s.Status != "stopped" {
				t.Errorf("kept: %+v", s)
			}
			o.ok(t, "delete", id)
			r.awaitEvents(t, id, "create", "start", "die 11", "destroy")

			id = ociID()
			cmd, stdout, _ := o.cmd(t, o.file("bin/engine-lite-oci"), "run", "--bundle",
				o.bundle(t, "trap 'exit 5' TERM; echo up; while :; do sleep 1000 & wait; done"), id)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			await(t, "it runs", func() bool { return content(t, stdout) == "up\n" })
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
				t.Errorf("killed: %v", cmd.ProcessState)
			}
			r.awaitEvents(t, id, "create", "start", "die 5", "destroy")

			first, second := ociID(), ociID()
			for _, id := range []string{first, second} {
				o.ok(t, "create", "--bundle", o.bundle(t, "exit 3"), id)
			}
			if got := o.run(t, "start", first, ociID(), second); got.code == 0 {
				t.Error("a start of a container that isn't there succeeds")
			}
			for _, id := range []string{first, second} {
				r.awaitEvents(t, id, "create", "start", "die 3")
				await(t, "it has ended", func() bool { return o.state(t, id).Status == "stopped" })
				o.ok(t, "delete", id)
			}
			id = ociID()
			pidFile := filepath.Join(t.TempDir(), "pid")
			o.ok(t, "run", "--detach", "--pid-file", pidFile, "--bundle", o.bundle(t, "exec sleep 1000"), id)
			if got := o.state(t, id); got.Status != "running" || got.Pid != pidIn(pidFile) {
				t.Errorf("detached: %+v", got)
			}
			o.ok(t, "delete", "--force", id)
			r.awaitEvents(t, id, "create", "start", "die 137", "destroy")
			o.clean(t)
		})
	}
}

// TestOCIRefused gives the command line wrong arguments. Each command fails and changes
// nothing.
func TestOCIRefused(t *testing.T) {
	r := sharedRig(t)
	for _, rt := range ociRuntimes {
		t.Run(rt.name, func(t *testing.T) {
			o := newOCI(t, r, rt.name, rt.wrap)
			bundle := o.bundle(t, "exit 0")
			for _, id := range []string{"../x", "", "a/b", ".", "..", "naïve", "容器", "a b", "a\n",
				strings.Repeat("x", 4096)} {
				for _, args := range [][]string{{"create", "--bundle", bundle}, {"run", "--bundle", bundle}, {"start"},
					{"state"}, {"kill"}, {"delete", "--force"}, {"pause"}, {"resume"}, {"ps"}, {"exec"}} {
					if got := o.run(t, append(args, "--", id)...); got.code == 0 ||
						!strings.Contains(got.stderr, "invalid container id") {
						t.Errorf("%q of %.20q: %+v", args, id, got)
					}
				}
			}
			broken := t.TempDir()
			if err := os.WriteFile(filepath.Join(broken, "config.json"), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
			id := ociID()
			noProcess := scriptSpec(o.rootfs, "")
			noProcess.Process = nil
			for _, args := range [][]string{
				{"create", "--bundle", t.TempDir(), id}, {"create", "--bundle", "/nowhere", id},
				{"create", "--bundle", broken, id},
				{"run", "--bundle", writeBundle(t, scriptSpec("/nowhere", "exit 0")), id}, {"create", "--nosuch", id},
				{"create"}, {"create", id, id}, {"nosuch", id},
				{"create", "--bundle", bundle, "--pid-file", "/nowhere/pid", id},
				{"--runtime", "/nowhere", "create", "--bundle", bundle, id},
			} {
				if got := o.run(t, args...); got.code == 0 || got.stderr == "" {
					t.Errorf("%q: %+v", args, got)
				}
			}
			if got := r.eventsOf(t, id); slices.Contains(got, "start") {
				t.Errorf("events: %q", got)
			}
			log := filepath.Join(t.TempDir(), "log")
			if got := o.run(t, "--log", log, "--log-format", "json", "create",
				"--bundle", bundle, "../x"); got.code == 0 {
				t.Errorf("a bad id: %+v", got)
			}
			var line struct{ Level, Msg string }
			if data, err := os.ReadFile(log); err != nil || json.Unmarshal(data, &line) != nil ||
				line.Level != "error" || !strings.Contains(line.Msg, "../x") {
				t.Errorf("log: %s, %v", data, err)
			}
			o.clean(t)
		})
	}
}

// TestOCIOfTheEngine runs a bundle by "engine-lite oci", the name that users find first.
func TestOCIOfTheEngine(t *testing.T) {
	t.Parallel()
	o := newOCI(t, sharedRig(t), "runc", nil)
	id := ociID()
	cmd := exec.CommandContext(t.Context(), o.file("bin/engine-lite"), "oci", "--run", o.runDir(), "--runtime",
		o.runtime,
		"run", "--bundle", o.bundle(t, "echo words; exit 7"), id)
	out, err := cmd.Output()
	if string(out) != "words\n" || cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("%q, %v", out, err)
	}
	o.awaitEvents(t, id, "create", "start", "die 7", "destroy")
}
