package runtimed_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// inMounts runs a daemon in a mount namespace that a script has changed.
func inMounts(script string) []string {
	return []string{"unshare", "-m", "sh", "-ec", script + `; exec "$@"`, "sh"}
}

// Without CAP_SYS_RESOURCE a container gets lower limits, and a warning in the answer to
// its create. So does an exec.
func TestWithoutSysResource(t *testing.T) {
	test := func(t *testing.T, d *daemon) {
		const script = "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj"
		score := -500
		wanted := func(p *specs.Process) {
			p.OOMScoreAdj = &score
			p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 4000},
				{Type: "RLIMIT_CORE", Soft: 0, Hard: 0}}
		}
		spec := d.spec("c", script+"; exec sleep 1000")
		wanted(spec.Process)
		d.record("c", spec)
		s := d.open("c", false)
		ctx, cancel := d.within()
		defer cancel()
		var trailer metadata.MD
		_, err := d.tasks.Create(ctx, &tasks.CreateTaskRequest{ContainerID: "c", Stdout: s.set.Paths().Stdout},
			grpc.Trailer(&trailer))
		check(t, err)
		warned := strings.Join(trailer.Get("engine-lite-warning"), "\n")
		equal(t, "warnings", warned, "the OOM score adjustment is 0, not -500: this host withholds CAP_SYS_RESOURCE\n"+
			"the hard limit RLIMIT_NOFILE is 2000, not 4000: this host withholds CAP_SYS_RESOURCE")
		d.start("c", "")
		d.await("the container says what it got", func() bool { return strings.Count(s.sofar(), "\n") == 3 })
		equal(t, "what the container got", s.sofar(), "100\n2000\n0\n")

		process := specs.Process{Args: []string{"/bin/sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin"}}
		wanted(&process)
		// The limit is below the hard limit. Above it, Go's own start in an exec of runc 1.1.5 may
		// raise the soft limit at the same time (os/rlimit.go).
		process.Rlimits[0].Soft = 4000
		e := d.open("e", false)
		_, err = d.tasks.Exec(ctx, &tasks.ExecProcessRequest{ContainerID: "c", ExecID: "e", Spec: pack(t, process),
			Stdout: e.set.Paths().Stdout}, grpc.Trailer(&trailer))
		check(t, err)
		equal(t, "warnings of the exec", strings.Join(trailer.Get("engine-lite-warning"), "\n"), warned)
		d.start("c", "e")
		equal(t, "exit status of the exec", d.wait("c", "e"), 0)
		equal(t, "what the exec got", e.end(), "2000\n2000\n0\n")
	}
	withhold := []string{"prlimit", "--nofile=1000:2000", "setpriv", "--bounding-set", "-sys_resource"}
	t.Run("runc", func(t *testing.T) { test(t, startDaemon(t, "runc", withhold...)) })
	t.Run("crun", func(t *testing.T) { test(t, startDaemon(t, "crun", append(withhold, withoutUnified...)...)) })
}

// A limit without its controller is refused by name. A container without that limit runs.
func TestMissingController(t *testing.T) {
	limit := int64(64 << 20)
	d := startDaemon(t, "runc", inMounts("umount /sys/fs/cgroup/memory")...)
	before := d.traces()
	spec := d.spec("c", "exit 0")
	spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
	d.record("c", spec)
	err := d.create("c", nil, false)
	equal(t, "code", status.Code(err), codes.FailedPrecondition)
	equal(t, "what "+err.Error()+" says", strings.Contains(err.Error(), `no control group controller "memory"`), true)
	ctx, cancel := d.within()
	defer cancel()
	d.destroy(ctx, "c")
	equal(t, "what is there", d.traces(), before)
	pids := int64(50)
	spec = d.spec("other", "exec sleep 1000")
	spec.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &pids}}
	d.runSpec("other", spec)
	_, err = d.tasks.Update(ctx, &tasks.UpdateTaskRequest{ContainerID: "other",
		Resources: pack(t, specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}})})
	equal(t, "code of an update", status.Code(err), codes.FailedPrecondition)
}

// Without writable control groups there are no containers: the error has the OCI runtime's
// message, and nothing is left.
func TestUnusableControlGroups(t *testing.T) {
	for name, c := range map[string]struct{ runtime, script, says string }{
		"none, runc": {"runc", "mount -t tmpfs tmpfs /sys/fs/cgroup", "cgroup"},
		"read-only, runc": {"runc",
			`for m in $(awk '$3 ~ /^cgroup/ {print $2}' /proc/self/mounts); do mount -o remount,ro,bind $m; done`,
			"read-only file system"},
		"hybrid, crun": {"crun",
			`d=/sys/fs/cgroup/unified; mountpoint -q $d || { mkdir -p $d; mount -t cgroup2 cgroup2 $d; }
			# Below another group it may have no controllers, which crun would take.
			grep -q . $d/cgroup.controllers || { f=$(mktemp); echo memory >$f; mount --bind $f $d/cgroup.controllers; rm $f; }`,
			"hybrid"},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t, c.runtime, inMounts(c.script)...)
			d.record("c", d.spec("c", "exit 0"))
			before := d.traces()
			err := d.create("c", nil, false)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("create: %v", err)
			}
			equal(t, "what is there", d.traces(), before)
		})
	}
}

// A seccomp profile is applied, or the container is refused: no container runs without the
// confinement of its spec.
func TestSeccomp(t *testing.T) {
	profile := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow,
		Syscalls: []specs.LinuxSyscall{{Names: []string{"reboot"}, Action: specs.ActErrno}}}
	eachRuntime(t, func(t *testing.T, d *daemon) {
		spec := d.spec("c", `while read name value; do [ "$name" = Seccomp: ] && exit $value; done </proc/self/status`)
		spec.Linux.Seccomp = profile
		d.record("c", spec)
		check(t, d.create("c", nil, false))
		d.start("c", "")
		equal(t, "seccomp mode", d.wait("c", ""), 2)
		d.delete("c")
		left, err := filepath.Glob(filepath.Join(d.dir, "root", ".tmp", "*"))
		check(t, err)
		equal(t, "temporary files", strings.Join(left, " "), "")
		err = d.createWith(d.fakeRuntime("without", "features",
			`echo '{"linux":{"seccomp":{"enabled":false}}}'; exit 0`), "c")
		equal(t, "code for a runtime without", status.Code(err), codes.FailedPrecondition)
		equal(t, "what "+err.Error()+" says", strings.Contains(err.Error(), "without was built without seccomp"), true)
		for i, script := range []string{"head -c 30000000 /dev/zero; exit 0", "exit 1", "echo garbage; exit 0"} {
			name := "mute" + strconv.Itoa(i) // each program is asked once
			check(t, d.createWith(d.fakeRuntime(name, "features", script), "c"))
			d.delete("c")
		}
	})
}
