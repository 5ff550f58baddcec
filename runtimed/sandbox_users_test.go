package runtimed_test

import (
	"os"
	"strconv"
	"testing"

	"github.com/containerd/containerd/api/services/containers/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// withUsers gives a spec a user namespace of its own, in which root is root: the test's
// directories belong to root.
func withUsers(spec *specs.Spec, size uint32) *specs.Spec {
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: size}}
	spec.Linux.GIDMappings = spec.Linux.UIDMappings
	return spec
}

// All containers in a sandbox have its user namespace, whether they ask for one or not. So
// have execs.
func TestSandboxSharesUsers(t *testing.T) {
	const ids = 70000
	eachRuntime(t, func(t *testing.T, d *daemon) {
		pod := d.runSpec("pod", withUsers(d.sandboxSpec("pod"), ids))
		if namespaceOf(t, pod, "user") == namespaceOf(t, uint32(os.Getpid()), "user") {
			t.Fatal("the sandbox has the host's user namespace")
		}
		unmapped := withUsers(d.memberSpec("unmapped", "pod"), ids)
		unmapped.Linux.UIDMappings, unmapped.Linux.GIDMappings = nil, nil
		for id, spec := range map[string]*specs.Spec{
			"none": d.memberSpec("none", "pod"), "same": withUsers(d.memberSpec("same", "pod"), ids),
			"unmapped": unmapped,
			"pid":      without(d.memberSpec("pid", "pod"), specs.PIDNamespace),
		} {
			pid := d.runSpec(id, spec)
			for _, kind := range []string{"user", "net", "ipc", "uts"} {
				equal(t, kind+" namespace of "+id, namespaceOf(t, pid, kind), namespaceOf(t, pod, kind))
			}
			s := d.open("e"+id, false)
			d.addExec(id, "e", "read a b size </proc/self/uid_map; echo $size", s, false)
			d.start(id, "e")
			equal(t, "exit status of the exec", d.wait(id, "e"), 0)
			equal(t, "ids in "+id, s.end(), strconv.Itoa(ids)+"\n")
		}
	})
}

// A container that would have another user namespace than its sandbox is refused, and
// nothing is left.
func TestSandboxRefusesUsers(t *testing.T) {
	d := startDaemon(t, "runc")
	d.runSpec("pod", withUsers(d.sandboxSpec("pod"), 70000))
	d.runSpec("plain", d.sandboxSpec("plain"))
	path := withUsers(d.memberSpec("path", "pod"), 70000)
	path.Linux.Namespaces[5].Path = "/proc/self/ns/user"
	groups := withUsers(d.memberSpec("groups", "pod"), 70000)
	groups.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 1}}
	before := d.traces()
	ctx, cancel := d.within()
	defer cancel()
	for id, spec := range map[string]*specs.Spec{
		"path": path, "groups": groups, "ids": withUsers(d.memberSpec("ids", "pod"), 60000),
		"brought": withUsers(d.memberSpec("brought", "plain"), 70000),
	} {
		d.record(id, spec)
		equal(t, "code of "+id, status.Code(d.create(id, nil, false)), codes.InvalidArgument)
		_, err := d.containers.Delete(ctx, &containers.DeleteContainerRequest{ID: id})
		check(t, err)
		equal(t, "what is there", d.traces(), before)
	}
}
