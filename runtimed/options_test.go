package runtimed_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/api/services/containers/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// labelled stores a container with labels and the options of its record.
func (d *daemon) labelled(t *testing.T, id string, spec *specs.Spec, labels map[string]string, opts *options.Options) {
	t.Helper()
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.containers.Create(ctx, &containers.CreateContainerRequest{Container: &containers.Container{
		ID: id, Spec: pack(t, spec), Labels: labels,
		Runtime: &containers.Container_Runtime{Name: "io.containerd.runc.v2", Options: packOptions(t, opts)},
	}})
	check(t, err)
}

// The runtime of the record gets the arguments of the label before its command, in every
// call.
func TestRuntimeOfRecord(t *testing.T) {
	d := startDaemon(t, "runc")
	calls, program := filepath.Join(d.dir, "calls"), filepath.Join(d.dir, "runtime")
	check(t, os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\necho \"$@\" >>%s\nexec runc \"$@\"\n", calls), 0o700))
	d.labelled(t, "c", d.spec("c", "exit 7"),
		map[string]string{"io.engine-lite.runtime.args": `["--debug","--rootless=false"]`},
		&options.Options{BinaryName: program, NoPivotRoot: true, NoNewKeyring: true})
	check(t, d.create("c", nil, false))
	d.start("c", "")
	equal(t, "exit status", d.wait("c", ""), 7)
	d.delete("c")
	text, err := os.ReadFile(calls)
	check(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i, command := range []string{"create", "start", "delete"} {
		if i >= len(lines) || !strings.Contains(lines[i], " --debug --rootless=false "+command+" ") {
			t.Errorf("calls of the runtime: %q", lines)
		}
	}
	for _, option := range []string{"--no-pivot", "--no-new-keyring"} {
		if !strings.Contains(lines[0], option) {
			t.Errorf("no %s in %q", option, lines[0])
		}
	}
}

// A user other than root can open its outputs again if the options name the owner of the
// streams. So can an exec's user.
func TestOwnerOfStreams(t *testing.T) {
	d := startDaemon(t, "runc")
	s, e := d.open("c", true), d.open("e", false)
	spec := d.spec("c", "echo anew >/dev/stdout; while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 6")
	spec.Process.User = specs.User{UID: 1234, GID: 1235}
	spec.Mounts[3].Options = []string{"mode=1777"}
	d.labelled(t, "c", spec, nil, &options.Options{IoUid: 1234, IoGid: 1236})
	check(t, d.create("c", s, false))
	d.start("c", "")
	d.addExec("c", "e", "echo exec >/dev/stdout; touch /tmp/go", e, false)
	d.start("c", "e")
	equal(t, "exit status of the exec", d.wait("c", "e"), 0)
	equal(t, "exit status", d.wait("c", ""), 6)
	equal(t, "output", s.end(), "anew\n")
	equal(t, "output of the exec", e.end(), "exec\n")
	for _, path := range []string{s.set.Paths().Stdin, s.set.Paths().Stdout, e.set.Paths().Stdout} {
		info, err := os.Stat(path)
		check(t, err)
		owner := info.Sys().(*syscall.Stat_t)
		equal(t, "group of "+path, owner.Gid, 1236)
	}
}

// With the option "no clean", the bundle and the directories of the processes are kept.
// Nothing else is.
func TestNoClean(t *testing.T) {
	d := startDaemon(t, "runc")
	noClean := map[string]string{"io.engine-lite.noclean": "1"}
	d.labelled(t, "c", d.spec("c", "while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 3"), noClean, &options.Options{})
	check(t, d.create("c", nil, false))
	d.start("c", "")
	d.addExec("c", "e", "touch /tmp/go", nil, false)
	d.start("c", "e")
	equal(t, "exit status", d.wait("c", ""), 3)
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: "c", ExecID: "e"})
	check(t, err)
	d.delete("c")
	spec := d.spec("bad", "")
	spec.Process.Args = []string{"/no/such/program"}
	d.labelled(t, "bad", spec, noClean, &options.Options{})
	if d.create("bad", nil, false) == nil {
		t.Error("a program that isn't there was started")
	}
	kept := filepath.Join(d.dir, "root", ".kept", testNamespace)
	for _, file := range []string{"c/*-bundle/config.json", "c/*-init/exit", "c/*-execs-e/exit",
		"bad/*-bundle/config.json", "bad/*-init/process.json"} {
		found, err := filepath.Glob(filepath.Join(kept, file))
		check(t, err)
		equal(t, "files "+file, len(found), 1)
	}
	d.killRuntimed() // which keeps the files of the container
	_, err = d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: "c"})
	equal(t, "task", status.Code(err), codes.NotFound)
	left, err := filepath.Glob(filepath.Join(d.dir, "root", testNamespace, "*", "*"))
	check(t, err)
	equal(t, "files of the containers", len(left), 2) // only their records
}

// An option that is set but not supported is refused by its name.
func TestOptionsRefused(t *testing.T) {
	d := startDaemon(t, "runc")
	d.record("c", d.spec("c", "exit 0"))
	for name, opts := range map[string]*options.Options{
		"root": {Root: "/x"}, "shim_cgroup": {ShimCgroup: "/x"}, "task_api_address": {TaskApiAddress: "x"},
	} {
		ctx, cancel := context.WithTimeout(d.ctx(), waitLimit)
		_, err := d.tasks.Create(ctx, &tasks.CreateTaskRequest{ContainerID: "c", Options: packOptions(t, opts)})
		cancel()
		equal(t, "code for "+name, status.Code(err), codes.Unimplemented)
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s isn't named: %v", name, err)
		}
	}
	for id, labels := range map[string]map[string]string{
		"args": {"io.engine-lite.runtime.args": `["delete"]`}, "noclean": {"io.engine-lite.noclean": "yes"},
	} {
		d.labelled(t, id, d.spec(id, "exit 0"), labels, &options.Options{})
		equal(t, "code for label "+id, status.Code(d.create(id, nil, false)), codes.InvalidArgument)
	}
}

// Without systemd, the control group could not be made: the container is refused, and
// nothing is left.
func TestSystemdCgroupWithoutSystemd(t *testing.T) {
	d := startDaemon(t, "runc", inMounts("[ ! -d /run/systemd/system ] || mount -t tmpfs tmpfs /run/systemd")...)
	spec := d.spec("c", "exit 0")
	spec.Linux.CgroupsPath = "system.slice:runtimed:c" // in systemd's form
	d.record("c", spec)
	before := d.traces()
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.Create(ctx,
		&tasks.CreateTaskRequest{ContainerID: "c", Options: packOptions(t, &options.Options{SystemdCgroup: true})})
	equal(t, "code", status.Code(err), codes.FailedPrecondition)
	equal(t, "what "+err.Error()+" says", strings.Contains(err.Error(), "systemd"), true)
	equal(t, "what is there", d.traces(), before)
}
