package spec

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// devicesOf returns the devices that a configuration leads to, and the rules of the control group.
func devicesOf(t *testing.T, h *record.HostConfig) (devices, rules []string, err error) {
	t.Helper()
	s := &oci.Spec{Linux: &specs.Linux{Resources: &specs.LinuxResources{}}}
	err = oci.ApplyOpts(t.Context(), nil, nil, s, deviceOpts(h)...)
	for _, d := range s.Linux.Devices {
		devices = append(devices, fmt.Sprintf("%s %s %d:%d", d.Path, d.Type, d.Major, d.Minor))
	}
	for _, r := range s.Linux.Resources.Devices {
		rules = append(rules, fmt.Sprintf("%s %s:%s %s", r.Type, numberText(r.Major), numberText(r.Minor), r.Access))
	}
	return devices, rules, err
}

func numberText(n *int64) string {
	if n == nil {
		return "*"
	}
	return strconv.FormatInt(*n, 10)
}

// TestDevices maps devices by their paths, by links, and by the directory that they are in.
func TestDevices(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "many", "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, number := range map[string]uint64{
		"one": unix.Mkdev(1, 3), "many/a": unix.Mkdev(1, 5), "many/below/b": unix.Mkdev(1, 7),
	} {
		if err := unix.Mknod(filepath.Join(dir, path), unix.S_IFCHR|0o600, int(number)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("one", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "many", "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mapping := func(host, inside, access string) record.DeviceMapping {
		return record.DeviceMapping{PathOnHost: filepath.Join(dir, host), PathInContainer: inside, CgroupPermissions: access}
	}
	with := func(d record.DeviceMapping) record.HostConfig {
		return record.HostConfig{Resources: record.Resources{Devices: []record.DeviceMapping{d}}}
	}
	rules := []string{"c 1:* r", "b *:2 wm", "a *:* rwm"}
	for name, c := range map[string]struct {
		h              record.HostConfig
		devices, rules string
	}{
		"one": {with(mapping("one", "/dev/x", "r")),
			"/dev/x c 1:3", "c 1:3 r"},
		"a link": {with(mapping("link", "/dev/x", "rw")),
			"/dev/x c 1:3", "c 1:3 rw"},
		"a link without a path": {with(mapping("link", "", "rw")),
			dir + "/link c 1:3", "c 1:3 rw"},
		"a directory": {with(mapping("many", "/dev/x", "rwm")),
			"/dev/x/a c 1:5,/dev/x/below/b c 1:7", "c 1:5 rwm,c 1:7 rwm"},
		"rules": {record.HostConfig{Resources: record.Resources{DeviceCgroupRules: rules}},
			"", "c 1:* r,b *:2 wm,a *:* rwm"},
		"privileged": {record.HostConfig{Privileged: true, Resources: record.Resources{
			Devices: []record.DeviceMapping{
				mapping("one", "/dev/x", "r"), mapping("one", filepath.Join(dir, "one"), "r"),
			}, DeviceCgroupRules: rules}},
			"/dev/x c 1:3", "c 1:3 rwm"},
	} {
		devices, rules, err := devicesOf(t, &c.h)
		if got := strings.Join(slices.Sorted(slices.Values(devices)), ","); got != c.devices || err != nil {
			t.Errorf("%s: devices %s, %v, want %s", name, got, err, c.devices)
		}
		if got := strings.Join(rules, ","); got != c.rules {
			t.Errorf("%s: rules %s, want %s", name, got, c.rules)
		}
	}
	for path, says := range map[string]string{
		"nothing": "no such file or directory", "many/file": "not a device node", "many/below/../file": "not a device node",
	} {
		_, _, err := devicesOf(t, new(with(mapping(path, "/dev/x", "r"))))
		want := fmt.Sprintf("error gathering device information while adding custom device %q: %s",
			filepath.Join(dir, path), says)
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// TestCheckDevices refuses rules and permissions that no kernel takes.
func TestCheckDevices(t *testing.T) {
	for _, rule := range []string{
		"", "c", "x 1:3 r", "c 1 r", "c 1:3", "c 1:3 x", "c 1:3 rwmr", "c -1:3 r", "c 1:99999999999 r", "c  1:3 r",
		"c 1:3 r ", "c *:*: r",
	} {
		h := &record.HostConfig{Resources: record.Resources{DeviceCgroupRules: []string{rule}}}
		err, want := checkDevices(h), "invalid device cgroup rule format: '"+rule+"'"
		if !errdefs.IsInvalidArgument(err) || err.Error() != want {
			t.Errorf("%q: %v", rule, err)
		}
	}
	for access, bad := range map[string]bool{"": true, "r": false, "mrw": false, "x": true, "rr w": true, "rwrw": true} {
		h := &record.HostConfig{Resources: record.Resources{Devices: []record.DeviceMapping{{CgroupPermissions: access}}}}
		if err := checkDevices(h); errdefs.IsInvalidArgument(err) != bad {
			t.Errorf("permissions %q: %v", access, err)
		}
	}
}

// FuzzDeviceRule reads rules. What is read has a form that the kernel takes.
func FuzzDeviceRule(f *testing.F) {
	f.Add("c 1:3 rwm")
	f.Add("a *:* m")
	f.Fuzz(func(t *testing.T, rule string) {
		r, ok := parseDeviceRule(rule)
		got := r.Type + " " + numberText(r.Major) + ":" + numberText(r.Minor) + " " + r.Access
		if ok && len(got) > len(rule) {
			t.Errorf("%q is %q", rule, got)
		}
	})
}
