package tests

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestOOMScoreIsNotInherited checks that a container and an exec have the OOM score
// adjustment 0 where runtimed has another one.
func TestOOMScoreIsNotInherited(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	d := oneDocker(t, r)
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", r.runtimedPid()), []byte("300"), 0); err != nil {
		t.Fatal(err)
	}
	name := d.sleeper(t)
	pid := d.ok(t, "inspect", "-f", "{{.State.Pid}}", name)
	score, err := os.ReadFile("/proc/" + pid + "/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(score)); got != "0" {
		t.Errorf("a container has %s", got)
	}
	// With crun 1.8, runtimed writes the score of an exec when the program runs already.
	if got := d.ok(t, "exec", name, "sh", "-c", "sleep 1; cat /proc/self/oom_score_adj"); got != "0" {
		t.Errorf("an exec has %s", got)
	}
}
