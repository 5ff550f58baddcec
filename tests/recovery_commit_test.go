package tests

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestCommitOverKill kills the engine while a commit has frozen a container. The next engine thaws that container, and
// leaves one alone that a user has paused. Nothing of the image stays.
func TestCommitOverKill(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	m := r.runScript(t, "dd if=/dev/urandom of=/noise bs=1M count=64 2>/dev/null; echo ready; exec sleep 1000", nil)
	paused := r.runScript(t, "exec sleep 1000", nil)
	r.do(t, http.MethodPost, "/containers/"+paused.id+"/pause", nil, nil)
	await(t, "the file is written", func() bool { return strings.Contains(r.output(t, m.id), "ready\n") })
	answer := make(chan reply, 1)
	go func() { answer <- r.call(http.MethodPost, "/commit?repo=made&container="+m.id, "") }()
	await(t, "the container is frozen", func() bool { return r.state(t, m.id).State.Status == "paused" })
	r.kill(t, r.enginePid())
	if a := <-answer; a.err == nil {
		t.Errorf("the commit was answered: %+v", a)
	}
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the next engine thaws it", func() bool { return r.state(t, m.id).State.Status == "running" })
	if s := r.state(t, paused.id).State; s.Status != "paused" {
		t.Errorf("a container that a user has paused is %s", s.Status)
	}
	var images []struct{ RepoTags []string }
	r.do(t, http.MethodGet, "/images/json?all=1", nil, &images)
	if len(images) != 1 || slices.Contains(images[0].RepoTags, "made:latest") {
		t.Errorf("images: %+v", images)
	}
	if data, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(data), r.root()+"/images") {
		for line := range strings.Lines(string(data)) {
			if strings.Contains(strings.Split(line, " - ")[0], r.root()+"/images") {
				t.Errorf("a mount is left: %s, %v", line, err)
			}
		}
	}
	var made struct{ ID string }
	r.do(t, http.MethodPost, "/commit?repo=made&pause=0&container="+paused.id, nil, &made)
	again := r.runScript(t, "echo hello", map[string]any{"Image": made.ID})
	await(t, "the image runs", func() bool { return r.output(t, again.id) == "hello\n" })
}
