package tests

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestReducedLimits runs the engine without CAP_SYS_RESOURCE. A container that needs the
// capability for its limits gets lower limits, and warnings at the create and at each
// start.
func TestReducedLimits(t *testing.T) {
	t.Parallel()
	r := ownRig(t, "prlimit", "--nofile=1000:2000", "setpriv", "--bounding-set", "-sys_resource")
	d := oneDocker(t, r)
	const score, files = "the OOM score adjustment is 0, not -500: this host withholds CAP_SYS_RESOURCE",
		"the hard limit RLIMIT_NOFILE is 2000, not 4000: this host withholds CAP_SYS_RESOURCE"
	name := d.name(t)
	got := d.run(t, "run", "--network", "none", "--name", name, "--oom-score-adj", "-500", "--ulimit",
		"nofile=100:4000", "busybox",
		"sh", "-c", "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj")
	if want := (result{"100\n2000\n0\n",
		"WARNING: " + files + "\nWARNING: " + score + "\n", 0}); sortedLines(got) != sortedLines(want) {
		t.Errorf("run: %+v\nwant: %+v", got, want)
	}
	d.ok(t, "start", "-a", name)
	warned := func(name, action string) string {
		return d.ok(t, "events", "--since", "0", "--until", fmt.Sprint(time.Now().Unix()+1), "--filter",
			"container="+name, "--filter", "event="+action,
			"--format", "{{.Actor.Attributes.warning}}")
	}
	if got, want := warned(name, "start"), score+"; "+files; got != want+"\n"+want {
		t.Errorf("the events of two starts say %q", got)
	}
	name = d.detached(t, "--ulimit", "nofile=100:4000", "busybox", "sleep", "1000")
	if got := d.ok(t, "exec", name, "sh", "-c", "ulimit -Hn"); got != "2000" {
		t.Errorf("an exec's limit is %s", got)
	}
	if got := warned(name, "exec_start"); got != files {
		t.Errorf("the event of an exec's start says %q", got)
	}
	if log := r.logs("engine.log"); !strings.Contains(log, score) {
		t.Errorf("the engine's log says nothing:\n%s", log)
	}
	if got := d.run(t, alone("--oom-score-adj", "500", "--ulimit",
		"nofile=100:2000", "busybox", "true")...); got != (result{}) {
		t.Errorf("with what can be had: %+v", got)
	}
}

// sortedLines sorts the lines on stderr, which come in any order.
func sortedLines(r result) result {
	r.stderr = strings.Join(slices.Sorted(strings.Lines(r.stderr)), "")
	return r
}
