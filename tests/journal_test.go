package tests

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// journalCommand runs "engine-lite journal", with or without an engine that runs.
func (r *rig) journalCommand(t *testing.T, args ...string) result {
	t.Helper()
	args = append([]string{"journal", "--root", r.root(), "--run", r.runDir()}, args...)
	cmd := exec.CommandContext(t.Context(), r.file("bin/engine-lite"), args...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// TestJournalCommand reads the journal of an engine that runs, of one that was killed, and
// a damaged copy.
func TestJournalCommand(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	d := oneDocker(t, r)
	d.sleeper(t)
	if res := d.run(t, "run", "--rm", "--network", "none", "busybox", "sh", "-c", "exit 5"); res.code != 5 {
		t.Fatalf("docker run: %+v", res)
	}
	sound := result{"the journal is sound\n", "", 0}
	look := func() string {
		if got := r.journalCommand(t, "check"); got != sound {
			t.Errorf("check: %+v", got)
		}
		if got := r.journalCommand(t, "dump", "--records=false", "--cursor", "1", "--limit", "2"); got.code != 0 ||
			strings.Count(got.stdout, "\n") != 2 ||
			!strings.HasPrefix(got.stdout, `{"event":{"seq":2,`) {
			t.Errorf("dump of a part: %+v", got)
		}
		if got := r.journalCommand(t, "dump", "--cursor", "1000000"); got.code != 1 || got.stdout != "" ||
			!strings.Contains(got.stderr, "1000000") {
			t.Errorf("dump beyond the end: %+v", got)
		}
		return r.journalCommand(t, "dump").stdout
	}
	live := look()
	exits := 0
	for line := range strings.Lines(live) {
		var l struct {
			Event  struct{ Attributes struct{ ExitCode string } }
			Record struct{ Value json.RawMessage }
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if l.Event.Attributes.ExitCode == "5" {
			exits++
		}
	}
	if exits != 1 {
		t.Errorf("%d events have the exit code:\n%s", exits, live)
	}
	r.kill(t, r.enginePid())
	if offline := look(); offline != live {
		t.Errorf("without an engine:\n%s\nwith one:\n%s", offline, live)
	}
	path := filepath.Join(r.root(), "journal.db")
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, file[:20<<10], 0o600); err != nil {
		t.Fatal(err)
	}
	if got := r.journalCommand(t, "check"); got.code != 1 || !strings.Contains(got.stdout, "cut off") ||
		!strings.Contains(got.stderr, "1 findings") {
		t.Errorf("check of a file that is cut off: %+v", got)
	}
	if err := r.start(); err == nil || !strings.Contains(r.logs("engine.log"), "engine-lite journal check") {
		t.Errorf("an engine started on it: %v", err)
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
}
