package runtimed_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/services/containers/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	kindKey = "io.kubernetes.cri.container-type"
	podKey  = "io.kubernetes.cri.sandbox-id"
)

// withoutUnified runs a command without control groups of version 2 beside version 1,
// which crun 1.8 refuses.
var withoutUnified = []string{"unshare", "-m", "sh", "-c",
	`if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec "$@"`, "sh"}

// eachRuntime runs a test with every OCI runtime.
func eachRuntime(t *testing.T, test func(t *testing.T, d *daemon)) {
	t.Run("runc", func(t *testing.T) { test(t, startDaemon(t, "runc")) })
	t.Run("crun", func(t *testing.T) { test(t, startDaemon(t, "crun", withoutUnified...)) })
}

func (d *daemon) sandboxSpec(id string) *specs.Spec {
	spec := d.spec(id, "exec sleep 1000")
	spec.Annotations = map[string]string{kindKey: "sandbox", podKey: id}
	return spec
}

// memberSpec is the spec of a container in a sandbox.
func (d *daemon) memberSpec(id, sandbox string) *specs.Spec {
	spec := d.spec(id, "exec sleep 1000")
	spec.Hostname = ""
	spec.Annotations = map[string]string{kindKey: "container", podKey: sandbox}
	return spec
}

func without(spec *specs.Spec, kinds ...specs.LinuxNamespaceType) *specs.Spec {
	spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces,
		func(n specs.LinuxNamespace) bool { return slices.Contains(kinds, n.Type) })
	return spec
}

func (d *daemon) runSpec(id string, spec *specs.Spec) uint32 {
	d.t.Helper()
	d.record(id, spec)
	check(d.t, d.create(id, nil, false))
	return d.start(id, "")
}

func namespaceOf(t *testing.T, pid uint32, kind string) string {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	check(t, err)
	return link
}

func TestSandboxShares(t *testing.T) {
	eachRuntime(t, func(t *testing.T, d *daemon) {
		pod := d.runSpec("pod", d.sandboxSpec("pod"))
		own := d.memberSpec("own", "pod")
		own.Linux.Namespaces[4].Path = "/proc/self/ns/net" // the host's namespace, as the OCI runtime sees it
		named := d.memberSpec("named", "pod")
		named.Hostname = "pod"
		pids := map[string]uint32{
			"member": d.runSpec("member", d.memberSpec("member", "pod")),
			"bare": d.runSpec("bare",
				without(d.memberSpec("bare", "pod"), specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace,
					specs.PIDNamespace)),
			"own":   d.runSpec("own", own),
			"named": d.runSpec("named", named),
		}
		for id, shared := range map[string]string{"member": "net ipc uts", "bare": "net ipc uts pid", "own": "ipc uts",
			"named": "net ipc uts"} {
			var got []string
			for _, kind := range []string{"net", "ipc", "uts", "pid", "mnt"} {
				if namespaceOf(t, pids[id], kind) == namespaceOf(t, pod, kind) {
					got = append(got, kind)
				}
			}
			equal(t, "namespaces that "+id+" shares", strings.Join(got, " "), shared)
		}
		equal(t, "network of a spec that names one", namespaceOf(t, pids["own"], "net"),
			namespaceOf(t, uint32(os.Getpid()), "net"))
		s := d.open("e", false)
		d.addExec("bare", "e", "echo $(cat /proc/sys/kernel/hostname); kill -0 1 && echo sees 1", s, false)
		d.start("bare", "e")
		equal(t, "exit status of the exec", d.wait("bare", "e"), 0)
		equal(t, "what an exec sees", s.end(), "pod\nsees 1\n")
	})
}

// A sandbox that ends kills all of its containers, in any state, and no others. Its own
// exit is announced first.
func TestSandboxEndsAll(t *testing.T) {
	eachRuntime(t, func(t *testing.T, d *daemon) {
		d.runSpec("pod", d.sandboxSpec("pod"))
		d.runSpec("other", d.sandboxSpec("other"))
		d.runSpec("running", d.memberSpec("running", "pod"))
		d.runSpec("shared", without(d.memberSpec("shared", "pod"), specs.PIDNamespace))
		d.runSpec("paused", d.memberSpec("paused", "pod"))
		d.runSpec("stays", d.memberSpec("stays", "other"))
		d.record("created", d.memberSpec("created", "pod"))
		check(t, d.create("created", nil, false))
		ctx, cancel := d.within()
		defer cancel()
		_, err := d.tasks.Pause(ctx, &tasks.PauseTaskRequest{ContainerID: "paused"})
		check(t, err)
		next := d.subscribe(`topic=="/tasks/exit"`)
		_, err = d.tasks.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: "pod"})
		equal(t, "deleting a sandbox that runs", status.Code(err), codes.FailedPrecondition)
		_, err = d.tasks.Kill(ctx, &tasks.KillRequest{ContainerID: "pod", Signal: 9})
		check(t, err)
		equal(t, "exit status of the sandbox", d.wait("pod", ""), 137)
		d.delete("pod")
		for i, seen := 0, map[string]bool{}; i < 5; i++ {
			v, err := typeurl.UnmarshalAny(next().Event)
			check(t, err)
			exit := v.(*events.TaskExit)
			equal(t, "exits twice: "+exit.ContainerID, seen[exit.ContainerID], false)
			equal(t, "exit status of "+exit.ContainerID, exit.ExitStatus, 137)
			seen[exit.ContainerID] = true
			if i == 0 && exit.ContainerID == "shared" {
				continue // the kernel kills it with the sandbox's init process
			}
			equal(t, "the sandbox's exit was announced before "+exit.ContainerID+"'s", seen["pod"], true)
		}
		for _, id := range []string{"running", "shared", "paused", "created"} {
			r, err := d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: id})
			check(t, err)
			equal(t, "status of "+id+" after the delete of its sandbox", r.Process.Status, task.Status_STOPPED)
			d.delete(id)
		}
		r, err := d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: "stays"})
		check(t, err)
		equal(t, "status of the other sandbox's container", r.Process.Status, task.Status_RUNNING)
	})
}

// A sandbox that was never started also takes its containers along when it is deleted.
// Another sandbox with the same id is not mistaken for it.
func TestSandboxIsMadeAgain(t *testing.T) {
	d := startDaemon(t, "runc")
	d.record("pod", d.sandboxSpec("pod"))
	check(t, d.create("pod", nil, false))
	d.runSpec("old", d.memberSpec("old", "pod"))
	d.delete("pod")
	equal(t, "exit status of the old one's container", d.wait("old", ""), 137)
	check(t, d.create("pod", nil, false))
	d.runSpec("new", d.memberSpec("new", "pod"))
	d.delete("old")
	ctx, cancel := d.within()
	defer cancel()
	r, err := d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: "new"})
	check(t, err)
	equal(t, "status of the new one's container", r.Process.Status, task.Status_RUNNING)
}

// A container that can't be in a sandbox is refused with the reason, and nothing is made.
func TestSandboxRefuses(t *testing.T) {
	d := startDaemon(t, "runc")
	d.runSpec("pod", d.sandboxSpec("pod"))
	d.runSpec("plain", d.spec("plain", "exec sleep 1000"))
	d.runSpec("ended", d.sandboxSpec("ended"))
	d.record("taskless", d.sandboxSpec("taskless"))
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.Kill(ctx, &tasks.KillRequest{ContainerID: "ended", Signal: 9})
	check(t, err)
	equal(t, "exit status of the sandbox", d.wait("ended", ""), 137)
	rename := d.memberSpec("c", "pod")
	rename.Hostname = "other"
	before := d.traces()
	for _, c := range []struct {
		name string
		spec *specs.Spec
		kind string
		pod  string
		want codes.Code
		says string
	}{
		{"type missing", nil, "", "pod", codes.InvalidArgument, "has no annotation io.kubernetes.cri.container-type"},
		{"type unknown", nil, "vm", "pod", codes.InvalidArgument, `unknown type "vm"`},
		{"no sandbox", nil, "container", "", codes.InvalidArgument, "has no annotation io.kubernetes.cri.sandbox-id"},
		{"in itself", nil, "container", "c", codes.InvalidArgument, "in itself"},
		{"two sandboxes", nil, "sandbox", "pod", codes.InvalidArgument, "is a sandbox"},
		{"path as sandbox", nil, "container", "../pod", codes.InvalidArgument, "sandbox id"},
		{"long sandbox", nil, "container", strings.Repeat("x", 4096), codes.InvalidArgument, "sandbox id"},
		{"unknown", nil, "container", "nobody", codes.NotFound, `no container "nobody"`},
		{"no sandbox but a container", nil, "container", "plain", codes.FailedPrecondition, "is not a sandbox"},
		{"no task", nil, "container", "taskless", codes.FailedPrecondition, "has no task"},
		{"has ended", nil, "container", "ended", codes.FailedPrecondition, "is not running"},
		{"another name", rename, "container", "pod", codes.InvalidArgument, `can't have the name "other"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.spec == nil {
				c.spec = d.spec("c", "exec sleep 1000")
				c.spec.Hostname = ""
			}
			c.spec.Annotations = map[string]string{}
			for key, value := range map[string]string{kindKey: c.kind, podKey: c.pod} {
				if value != "" {
					c.spec.Annotations[key] = value
				}
			}
			d.record("c", c.spec)
			err := d.create("c", nil, false)
			equal(t, "code", status.Code(err), c.want)
			equal(t, "what "+err.Error()+" says", strings.Contains(err.Error(), c.says), true)
			_, err = d.containers.Delete(ctx, &containers.DeleteContainerRequest{ID: "c"})
			check(t, err)
			equal(t, "what is there", d.traces(), before)
		})
	}
}

// traces lists all that containers of this daemon leave: directories, control groups,
// mounts, namespaces.
func (d *daemon) traces() string {
	d.t.Helper()
	var all []string
	for _, pattern := range []string{
		filepath.Join(d.dir, "root", testNamespace, "*"), filepath.Join(d.dir, "root", testNamespace, "*", "*"),
		filepath.Join(d.dir, "root", ".oci", testNamespace, "*"), filepath.Join(d.dir, "root", ".tmp", "*"),
		"/sys/fs/cgroup/*/" + groupsName + "/" + filepath.Base(d.dir) + "*",
	} {
		found, err := filepath.Glob(pattern)
		check(d.t, err)
		all = append(all, found...)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	check(d.t, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, d.dir) {
			all = append(all, line)
		}
	}
	for _, link := range d.descriptors() {
		if kind, _, ok := strings.Cut(link, ":["); ok && slices.Contains([]string{"net", "ipc", "uts", "pid"}, kind) {
			all = append(all, link) // an open namespace still exists
		}
	}
	return strings.Join(all, "\n")
}

// descriptors are the files that runtimed has open.
func (d *daemon) descriptors() []string {
	d.t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", d.runtimedPid()))
	check(d.t, err)
	var links []string
	for _, file := range files {
		if link, err := os.Readlink(file); err == nil { // else the descriptor is closed already
			links = append(links, link)
		}
	}
	return links
}

// A sandbox survives a crash of runtimed and takes new containers. If it ended while no
// runtimed ran, all of its containers end.
func TestSandboxSurvives(t *testing.T) {
	d := startDaemon(t, "runc")
	pod := d.runSpec("pod", d.sandboxSpec("pod"))
	d.runSpec("before", d.memberSpec("before", "pod"))
	d.killRuntimed()
	after := d.runSpec("after", d.memberSpec("after", "pod"))
	equal(t, "network", namespaceOf(t, after, "net"), namespaceOf(t, pod, "net"))
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.tasks.Pause(ctx, &tasks.PauseTaskRequest{ContainerID: "before"})
	check(t, err)
	d.signalRuntimed(syscall.SIGSTOP)
	check(t, syscall.Kill(int(pod), syscall.SIGKILL))
	d.await("the sandbox has ended", func() bool {
		_, err := os.Stat("/proc/" + strconv.Itoa(int(pod)))
		return os.IsNotExist(err)
	})
	d.killRuntimed()
	for _, id := range []string{"pod", "before", "after"} {
		equal(t, "exit status of "+id, d.wait(id, ""), 137)
	}
}

// Containers that are created while their sandbox ends are refused, or end with it. None
// runs on, and none is half made.
func TestSandboxEndsDuringCreate(t *testing.T) {
	d := startDaemon(t, "runc")
	d.runSpec("pod", d.sandboxSpec("pod"))
	const containers = 8
	for i := range containers {
		d.record(fmt.Sprint("c", i), d.memberSpec(fmt.Sprint("c", i), "pod"))
	}
	ctx, cancel := d.within()
	defer cancel()
	var work sync.WaitGroup
	errs := make([]error, containers)
	for i := range containers {
		work.Go(func() {
			_, errs[i] = d.tasks.Create(ctx, &tasks.CreateTaskRequest{ContainerID: fmt.Sprint("c", i)})
		})
	}
	d.await("the first one is being created", func() bool {
		found, _ := filepath.Glob(filepath.Join(d.dir, "root", ".oci", testNamespace, "c*"))
		return len(found) > 0
	})
	_, err := d.tasks.Kill(ctx, &tasks.KillRequest{ContainerID: "pod", Signal: 9})
	check(t, err)
	work.Wait()
	equal(t, "exit status of the sandbox", d.wait("pod", ""), 137)
	for i, err := range errs { // the sandbox is not deleted: its delete would look for them again
		id := fmt.Sprint("c", i)
		if err != nil {
			equal(t, "why "+id+" was refused: "+err.Error(), status.Code(err), codes.FailedPrecondition)
			left, _ := filepath.Glob(filepath.Join(d.dir, "root", testNamespace, id, "*"))
			equal(t, "what is left of "+id, len(left), 1)
			continue
		}
		equal(t, "exit status of "+id, d.wait(id, ""), 137)
	}
}
