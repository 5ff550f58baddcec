package runtimed_test

import (
	"os"
	"path/filepath"
	"testing"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// likeDocker is a spec like that of a Docker container: a root filesystem and files that
// are mounts, the kernel's filesystems, masked paths, limits and a seccomp filter.
func (d *daemon) likeDocker(t *testing.T, id, script string) (*specs.Spec, []*types.Mount) {
	t.Helper()
	dir := filepath.Join(d.dir, "layers-"+id)
	for _, sub := range []string{"upper", "work", "files"} {
		check(t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	hosts := filepath.Join(dir, "files", "hosts")
	check(t, os.WriteFile(hosts, []byte("127.0.0.1 "+id+"\n"), 0o644))
	spec := d.spec(id, script)
	spec.Root = &specs.Root{Path: "rootfs"}
	spec.Mounts = append(spec.Mounts,
		specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs",
			Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
			Options: []string{"ro", "nosuid", "noexec", "nodev"}},
		specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue",
			Options: []string{"nosuid", "noexec", "nodev"}},
		specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
			Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		specs.Mount{Destination: "/etc/hosts", Type: "bind", Source: hosts, Options: []string{"rbind", "rprivate"}},
	)
	memory := int64(64 << 20)
	spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &memory}}
	spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = []string{"/proc/kcore", "/proc/keys"},
		[]string{"/proc/sys", "/proc/irq"}
	spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow,
		Syscalls: []specs.LinuxSyscall{{Names: []string{"swapon"}, Action: specs.ActErrno}}}
	return spec, []*types.Mount{{Type: "overlay", Source: "overlay", Options: []string{
		"lowerdir=" + rootfs, "upperdir=" + filepath.Join(dir, "upper"), "workdir=" + filepath.Join(dir, "work"),
	}}}
}

// A container like one of Docker's is restored, with the files of the container that it is
// restored into.
func TestCheckpointLikeDocker(t *testing.T) {
	withCRIU(t)
	d := startDaemon(t, "runc")
	first, second := d.open("first", true), d.open("second", true)
	run := func(id string, s *streams, opts *options.Options) {
		spec, mounts := d.likeDocker(t, id, "echo word >/written; "+counter)
		d.record(id, spec)
		ctx, cancel := d.within()
		defer cancel()
		_, err := d.tasks.Create(ctx, &tasks.CreateTaskRequest{
			ContainerID: id, Rootfs: mounts, Stdin: s.set.Paths().Stdin, Stdout: s.set.Paths().Stdout,
			Options: packOptions(t, opts),
		})
		check(t, err)
		d.start(id, "")
	}
	run("first", first, &options.Options{})
	d.typist(t, first).line(t, "1\n")
	images := filepath.Join(d.dir, "images")
	check(t, d.checkpoint(t, "first", &options.CheckpointOptions{ImagePath: images, Exit: true}))
	first.end()

	run("second", second, &options.Options{CriuImagePath: images})
	d.typist(t, second).line(t, "2\n")
	e := d.open("e", false)
	d.addExec("second", "e", "cat /etc/hosts; [ ! -e /written ] || cat /written", e, false)
	d.start("second", "e")
	equal(t, "exit status of the exec", d.wait("second", "e"), 0)
	equal(t, "files", e.end(), "127.0.0.1 second\n")
	limit, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/memory", d.spec("second", "").Linux.CgroupsPath,
		"memory.limit_in_bytes"))
	check(t, err)
	equal(t, "limit", string(limit), "67108864\n")
}
