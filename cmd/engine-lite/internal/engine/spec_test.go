package engine

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/host"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
)

var update = flag.Bool("update", false, "write the golden files anew")

// specOf makes the spec of a container's next run.
func (r *rig) specOf(id string) *specs.Spec {
	r.t.Helper()
	rec := r.task(id).Record()
	rootfs, err := r.e.images.Mounts(r.t.Context(), id)
	must(r.t, err)
	s, err := r.e.furnishRun(r.t.Context(), rec, rootfs, resources.Contribution{})
	must(r.t, err)
	return s
}

// The default confinement is in a golden file, so that each change of it is seen.
func TestSpecGolden(t *testing.T) {
	r := newRig(t)
	id := r.create("golden", "exit 0", func(req *container.CreateRequest) { req.Hostname, req.User = "host", "alice" })
	s := r.specOf(id)
	if s.Linux.Seccomp == nil || len(s.Linux.Seccomp.Syscalls) < 5 || s.Linux.Seccomp.DefaultAction != specs.ActErrno {
		t.Errorf("seccomp: %+v", s.Linux.Seccomp)
	}
	s.Linux.Seccomp = nil // its profile depends on the machine, as do the paths of its processors
	s.Linux.MaskedPaths = slices.DeleteFunc(s.Linux.MaskedPaths, func(path string) bool { return strings.HasSuffix(path, "/thermal_throttle") })
	raw, err := json.MarshalIndent(s, "", "  ")
	must(t, err)
	got := strings.NewReplacer(id, "ID", r.root, "ROOT").Replace(string(raw)) + "\n"
	golden := filepath.Join("testdata", "spec.json")
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if got != string(want) {
		t.Errorf("the spec has changed (-update writes it anew):\n%s", got)
	}
}

func TestDefaultCapabilities(t *testing.T) {
	r := newRig(t)
	s := r.specOf(r.create("", "exit 0"))
	docker := []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
		"CAP_NET_BIND_SERVICE",
		"CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
	for _, set := range [][]string{s.Process.Capabilities.Bounding, s.Process.Capabilities.Effective,
		s.Process.Capabilities.Permitted} {
		if got := slices.Sorted(slices.Values(set)); !slices.Equal(got, docker) {
			t.Errorf("capabilities %v", got)
		}
	}
	if len(s.Process.Capabilities.Inheritable)+len(s.Process.Capabilities.Ambient) > 0 {
		t.Errorf("%+v", s.Process.Capabilities)
	}
}

// What dockerd masks is masked: containerd's list is Docker's, and has this host's processors.
func TestMaskedPaths(t *testing.T) {
	r := newRig(t)
	s := r.specOf(r.create("", "exit 0"))
	for _, path := range []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	} {
		if !slices.Contains(s.Linux.MaskedPaths, path) {
			t.Errorf("%s is not masked", path)
		}
	}
	throttles, _ := filepath.Glob("/sys/devices/system/cpu/cpu*/thermal_throttle") // the pattern is a good one
	for _, path := range throttles {
		if !slices.Contains(s.Linux.MaskedPaths, path) {
			t.Errorf("%s is not masked", path)
		}
	}
	for _, path := range []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"} {
		if !slices.Contains(s.Linux.ReadonlyPaths, path) {
			t.Errorf("%s is not read-only", path)
		}
	}
}

func TestSpecVariants(t *testing.T) {
	r := newRig(t)
	has := func(s *specs.Spec, ns specs.LinuxNamespaceType) bool {
		return slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == ns })
	}
	for name, c := range map[string]struct {
		change func(req *container.CreateRequest)
		holds  func(s *specs.Spec) bool
	}{
		"host uts": {func(req *container.CreateRequest) { req.HostConfig.UTSMode = "host" },
			func(s *specs.Spec) bool { return !has(s, specs.UTSNamespace) && s.Hostname == "" && s.Domainname == "" }},
		"host network": {func(req *container.CreateRequest) { req.HostConfig.NetworkMode = "host" },
			func(s *specs.Spec) bool { return !has(s, specs.NetworkNamespace) && s.Hostname != "" }},
		"host pid": {func(req *container.CreateRequest) { req.HostConfig.PidMode = "host" },
			func(s *specs.Spec) bool { return !has(s, specs.PIDNamespace) }},
		"privileged": {func(req *container.CreateRequest) { req.HostConfig.Privileged = true },
			func(s *specs.Spec) bool {
				return s.Linux.Seccomp == nil && len(s.Linux.MaskedPaths) == 0 &&
					slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool {
						return m.Destination == "/sys/fs/cgroup" && slices.Contains(m.Options, "rw")
					})
			}},
		"no seccomp": {func(req *container.CreateRequest) { req.HostConfig.SecurityOpt = []string{"seccomp=unconfined"} },
			func(s *specs.Spec) bool { return s.Linux.Seccomp == nil && len(s.Linux.MaskedPaths) > 0 }},
		"no capabilities": {func(req *container.CreateRequest) {
			req.HostConfig.CapDrop = []string{"all"}
			req.HostConfig.CapAdd = []string{"chown"}
		},
			func(s *specs.Spec) bool { return slices.Equal(s.Process.Capabilities.Bounding, []string{"CAP_CHOWN"}) }},
		"no new privileges": {func(req *container.CreateRequest) { req.HostConfig.SecurityOpt = []string{"no-new-privileges"} },
			func(s *specs.Spec) bool { return s.Process.NoNewPrivileges }},
		"limits": {func(req *container.CreateRequest) { req.HostConfig.Memory, req.HostConfig.NanoCPUs = 64<<20, 5e8 },
			func(s *specs.Spec) bool {
				return *s.Linux.Resources.Memory.Limit == 64<<20 && *s.Linux.Resources.Memory.Swap == 128<<20 &&
					*s.Linux.Resources.CPU.Quota == 50_000
			}},
		"read-only": {func(req *container.CreateRequest) { req.HostConfig.ReadonlyRootfs = true },
			func(s *specs.Spec) bool {
				return s.Root.Readonly && !slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool {
					return strings.HasPrefix(m.Destination, "/etc/") && !slices.Contains(m.Options, "ro")
				})
			}},
		"no ipc": {func(req *container.CreateRequest) { req.HostConfig.IpcMode = "none" },
			func(s *specs.Spec) bool {
				return has(s, specs.IPCNamespace) && !slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/dev/shm" })
			}},
		"mounts in mounts": {func(req *container.CreateRequest) {
			req.HostConfig.Tmpfs = map[string]string{"/run/lock/a": "", "/run": "", "/etc": "", "/run/lock": ""}
		},
			func(s *specs.Spec) bool {
				at := func(path string) int {
					return slices.IndexFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == path })
				}
				return at("/run") >= 0 && at("/run") < at("/run/lock") && at("/run/lock") < at("/run/lock/a") && at("/etc") >= 0 && at("/etc") < at("/etc/hosts")
			}},
		"init": {func(req *container.CreateRequest) {
			req.HostConfig.Init, req.HostConfig.Tmpfs = new(true), map[string]string{"/sbin": ""}
		},
			func(s *specs.Spec) bool {
				return slices.Equal(s.Process.Args[:2], []string{"/sbin/docker-init", "--"}) &&
					s.Mounts[len(s.Mounts)-1].Destination == "/sbin/docker-init"
			}},
		"no init": {func(req *container.CreateRequest) { req.HostConfig.Init = new(false) },
			func(s *specs.Spec) bool { return s.Process.Args[0] != "/sbin/docker-init" }},
		"no init beside others": {func(req *container.CreateRequest) {
			req.HostConfig.Init, req.HostConfig.PidMode = new(true), "host"
		},
			func(s *specs.Spec) bool { return s.Process.Args[0] != "/sbin/docker-init" }},
		"device": {func(req *container.CreateRequest) {
			null := container.DeviceMapping{PathOnHost: "/dev/null", PathInContainer: "/dev/x", CgroupPermissions: "r"}
			req.HostConfig.Devices = []container.DeviceMapping{null}
			req.HostConfig.DeviceCgroupRules = []string{"b 7:* rw"}
		},
			func(s *specs.Spec) bool {
				rules := s.Linux.Resources.Devices
				return s.Linux.Devices[0].Path == "/dev/x" && rules[len(rules)-2].Access == "r" && *rules[len(rules)-1].Major == 7
			}},
		"parent": {func(req *container.CreateRequest) { req.HostConfig.CgroupParent = "/a/b" },
			func(s *specs.Spec) bool { return strings.HasPrefix(s.Linux.CgroupsPath, "/a/b/") }},
		"relative parent": {func(req *container.CreateRequest) { req.HostConfig.CgroupParent = "../../a" },
			func(s *specs.Spec) bool { return strings.HasPrefix(s.Linux.CgroupsPath, "/a/") }},
		"memory": {func(req *container.CreateRequest) {
			req.HostConfig.MemorySwappiness, req.HostConfig.OomKillDisable = new(int64(7)), new(true)
		},
			func(s *specs.Spec) bool {
				m := s.Linux.Resources.Memory
				return host.CgroupVersion() == "2" && m == nil || *m.Swappiness == 7 && *m.DisableOOMKiller
			}},
		"terminal": {func(req *container.CreateRequest) { req.Tty, req.HostConfig.ConsoleSize = true, [2]uint{4, 5} },
			func(s *specs.Spec) bool {
				return s.Process.Terminal && s.Process.ConsoleSize.Height == 4 && s.Process.ConsoleSize.Width == 5
			}},
		"own paths": {func(req *container.CreateRequest) { req.HostConfig.MaskedPaths = []string{} },
			func(s *specs.Spec) bool { return len(s.Linux.MaskedPaths) == 0 && len(s.Linux.ReadonlyPaths) > 0 }},
	} {
		if s := r.specOf(r.create("", "exit 0", c.change)); !c.holds(s) {
			raw, _ := json.Marshal(s)
			t.Errorf("%s: %s", name, raw)
		}
	}
}
