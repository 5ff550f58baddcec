package runtimed_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/api/services/containers/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// makeGroup are lines of a script that make the control group $group in every hierarchy,
// from the root or from the script's own group, with a process in a group below.
const makeGroup = `setsid sleep 1000 >/dev/null 2>&1 & member=$!
for h in /sys/fs/cgroup/*/; do
	case $h in */unified/|*/cpuset/) continue;; esac
	own=$(sed -n "s/^[0-9]*:\\(name=\\)\\?$(basename $h)://p" /proc/self/cgroup)
	[ $from = here ] || own=
	mkdir -p $h$own/$group/below; echo $member >$h$own/$group/below/cgroup.procs
done
`

// killRunc are lines that kill runc during its create as soon as it has made the control
// group in this hierarchy.
func killRunc(hierarchy string) string {
	return `runc "$@" & pid=$!
while kill -0 $pid 2>/dev/null && ! [ -e /sys/fs/cgroup/` + hierarchy + `$group ]; do :; done
kill -9 $pid; wait $pid
`
}

// groupsLeft lists the control groups of a container, in any hierarchy.
func groupsLeft(t *testing.T, path string) string {
	t.Helper()
	found, err := exec.CommandContext(t.Context(), "find", "/sys/fs/cgroup", "-type", "d", "-path", "*"+path).Output()
	if err != nil && len(found) == 0 { // find complains if groups of other tests are removed meanwhile
		t.Logf("find: %v", err)
	}
	return string(found)
}

// If an OCI runtime is killed at any point of a create, no control group is left, and no
// process in one. The same holds if the daemon is killed, too, and if the runtime chooses
// the group's place.
func TestNoGroupsAreLeft(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, script string
		ownPlace     bool
	}{
		{"group without a runtime", makeGroup + "exit 1", false},
		{"group in the runtime's own", makeGroup + "exit 1", true},
		{"frozen", makeGroup + "echo FROZEN >/sys/fs/cgroup/freezer$group/below/freezer.state; exit 1", false},
		{"runc in cpuset", killRunc("cpuset") + "exit 1", false},
		{"runc in freezer", killRunc("freezer") + "exit 1", false},
		{"runc in freezer, its own place", killRunc("freezer") + "exit 1", true},
		{"runc without its pid", `runc "$@"; kill -9 $(cat $pidfile); rm $pidfile` + "\nexit 1", false},
		{"runc without its state", `runc "$@"; rm -r $root/*` + "\nexit 1", false},
	} {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, runtimed killed: %t", c.name, crash), func(t *testing.T) {
				t.Parallel()
				d := startDaemon(t, "runc")
				before := d.traces()
				id := filepath.Base(d.dir)
				spec := d.spec(id, "exec sleep 1000")
				if c.ownPlace {
					spec.Linux.CgroupsPath = ""
				}
				d.failToCreate(id, spec, c.script, crash)
				equal(t, "control groups", groupsLeft(t, id+"*"), "")
				_, err := d.containers.Delete(d.ctx(), &containers.DeleteContainerRequest{ID: id})
				check(t, err)
				check(t, os.Remove(filepath.Join(d.dir, "broken")))
				equal(t, "what is there", d.traces(), before)
			})
		}
	}
}

// failToCreate runs a script in place of the runtime's create. The script has $group, the
// path of the control group, and its last line ends it. With crash, runtimed is killed
// before that.
func (d *daemon) failToCreate(id string, spec *specs.Spec, script string, crash bool) {
	d.t.Helper()
	from, group := "root", spec.Linux.CgroupsPath
	if group == "" {
		from, group = "here", "/"+id
	}
	reached, goOn := filepath.Join(d.dir, id+".reached"), filepath.Join(d.dir, id+".go")
	at := strings.LastIndexByte(script, '\n') + 1
	if crash {
		script = script[:at] + "touch " + reached + "; until [ -e " + goOn + " ]; do sleep 0.01; done\n" + script[at:]
	}
	d.record(id, spec)
	runtime := d.fakeRuntime("broken", "create",
		"from="+from+" group="+group+" root="+filepath.Join(d.dir, "root", ".oci", testNamespace, id)+"\n"+script)
	failed := make(chan error, 1)
	go func() { failed <- d.createWith(runtime, id) }()
	if crash {
		d.await("the runtime has come to where it stops", func() bool { _, err := os.Stat(reached); return err == nil })
		old := d.signalRuntimed(syscall.SIGKILL)
		check(d.t, os.WriteFile(goOn, nil, 0o600))
		d.await("another runtimed runs", func() bool { next := d.runtimedPid(); return next != 0 && next != old })
		d.awaitServing()
	}
	if err := <-failed; err == nil {
		d.t.Fatal("the create succeeds")
	}
}

// A control group from before the container stays, with the processes in it.
func TestForeignGroupsAreLeft(t *testing.T) {
	d := startDaemon(t, "runc")
	spec := d.spec("c", "exit 0")
	dir := filepath.Join("/sys/fs/cgroup/pids", spec.Linux.CgroupsPath)
	check(t, os.MkdirAll(dir, 0o755))
	member := exec.CommandContext(t.Context(), "sleep", "1000")
	check(t, member.Start())
	check(t, os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, member.Process.Pid), 0))
	d.failToCreate("c", spec, "exit 1", false)
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	check(t, err)
	equal(t, "who is in it", strings.TrimSpace(string(text)), fmt.Sprint(member.Process.Pid))
	check(t, member.Process.Signal(syscall.Signal(0)))
	check(t, member.Process.Kill())
	if err := member.Wait(); err == nil {
		t.Error("the process ended by itself")
	}
	d.await("the group can be removed", func() bool { return os.Remove(dir) == nil })
}

// A container in a group below another's is being created when the create of the other one
// fails. The group stays.
func TestGroupOfAnotherIsLeft(t *testing.T) {
	d := startDaemon(t, "runc")
	outer, inner := d.spec("c", "exec sleep 1000"), d.spec("inner", "exec sleep 1000")
	inner.Linux.CgroupsPath = outer.Linux.CgroupsPath + "/inner"
	made, goOn := filepath.Join(d.dir, "made"), filepath.Join(d.dir, "go")
	d.record("c", outer)
	runtime := d.fakeRuntime("slow", "create",
		`mkdir -p /sys/fs/cgroup/pids`+outer.Linux.CgroupsPath+`; touch `+made+`; until [ -e `+goOn+
			` ]; do sleep 0.01; done; exit 1`)
	failed := make(chan error, 1)
	go func() { failed <- d.createWith(runtime, "c") }()
	d.await("the outer group is made", func() bool { _, err := os.Stat(made); return err == nil })
	d.record("inner", inner)
	check(t, d.create("inner", nil, false))
	check(t, os.WriteFile(goOn, nil, 0o600))
	if err := <-failed; err == nil {
		t.Error("the create succeeds")
	}
	d.start("inner", "")
	d.kill("inner", syscall.SIGKILL)
	equal(t, "exit status", d.wait("inner", ""), 137)
	d.delete("inner")
	d.await("the outer group is removed", func() bool {
		return groupsLeft(t, outer.Linux.CgroupsPath) == "" || removeEmpty(outer.Linux.CgroupsPath)
	})
}

// removeEmpty removes a control group that was expected to be left.
func removeEmpty(path string) bool {
	dirs, err := filepath.Glob("/sys/fs/cgroup/*" + path)
	for _, dir := range dirs {
		if os.Remove(dir) != nil {
			return false
		}
	}
	return err == nil
}

// What a failed create could not remove is removed with the container's record, or before
// its next create.
func TestRemainsAreFreedLater(t *testing.T) {
	d := startDaemon(t, "runc")
	before := d.traces()
	for _, again := range []bool{false, true} {
		spec := d.spec("c", "exit 0")
		d.record("c", spec)
		stuck := filepath.Join(d.dir, "stuck")
		check(t, os.WriteFile(stuck, nil, 0o600))
		runtime := filepath.Join(d.dir, "broken")
		check(t, os.WriteFile(runtime, []byte(`#!/bin/sh
case "$*" in
*\ create\ *) runc "$@"; exit 1;;
*\ delete\ *) [ -e `+stuck+` ] && exit 1;;
esac
exec runc "$@"
`), 0o755))
		if err := d.createWith(runtime, "c"); err == nil {
			t.Fatal("the create succeeds")
		}
		equal(t, "a group is left", groupsLeft(t, spec.Linux.CgroupsPath) != "", true)
		log := filepath.Join(d.dir, "log")
		text, err := os.ReadFile(log)
		check(t, err)
		equal(t, "complaints", strings.Count(string(text), "level=error"), 1)
		check(t, os.Truncate(log, 0)) // the complaint is expected
		check(t, os.Remove(stuck))
		if again {
			check(t, d.create("c", nil, false))
			d.delete("c")
		}
		_, err = d.containers.Delete(d.ctx(), &containers.DeleteContainerRequest{ID: "c"})
		check(t, err)
		check(t, os.Remove(runtime))
		equal(t, "what is there", d.traces(), before)
	}
}
