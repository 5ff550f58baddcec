package spec

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// allAccess is to read a device, to write to it, and to make its node.
const allAccess = "rwm"

// deviceOpts give the container devices of the host, and the right to use further ones by their numbers. A privileged
// container may use all devices, and has each at its path on the host: only other paths are added there. A device is
// looked for at each start.
func deviceOpts(h *record.HostConfig) []oci.SpecOpts {
	var opts []oci.SpecOpts
	for _, d := range h.Devices {
		switch {
		case !h.Privileged:
			opts = append(opts, deviceOpt(d, d.CgroupPermissions))
		case d.PathInContainer != d.PathOnHost:
			opts = append(opts, deviceOpt(d, allAccess))
		}
	}
	if !h.Privileged {
		opts = append(opts, deviceRulesOpt(h.DeviceCgroupRules))
	}
	return opts
}

// deviceOpt gives the container a device, or all devices below a directory. Links are followed.
func deviceOpt(d record.DeviceMapping, access string) oci.SpecOpts {
	return func(ctx context.Context, c oci.Client, ctr *containers.Container, s *oci.Spec) error {
		path, had := d.PathOnHost, len(s.Linux.Devices)
		if resolved, err := filepath.EvalSymlinks(path); err == nil {
			path = resolved
		}
		err := oci.WithDevices(path, cmp.Or(d.PathInContainer, d.PathOnHost), access)(ctx, c, ctr, s)
		switch errno := unix.Errno(0); {
		case err == nil && len(s.Linux.Devices) > had:
			return nil
		case err == nil || errors.Is(err, oci.ErrNotADevice):
			err = oci.ErrNotADevice
		case errors.As(err, &errno):
			err = errno
		}
		return fmt.Errorf("error gathering device information while adding custom device %q: %w", d.PathOnHost, err)
	}
}

func deviceRulesOpt(rules []string) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		for _, rule := range rules {
			parsed, ok := parseDeviceRule(rule)
			if !ok {
				return classed.Errorf(errdefs.ErrInvalidArgument, "invalid device cgroup rule format: '%s'", rule)
			}
			s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, parsed)
		}
		return nil
	}
}

// parseDeviceRule reads "TYPE MAJOR:MINOR ACCESS", in the form of
// Documentation/admin-guide/cgroup-v1/devices.rst: "c 1:3 rwm". A number may be "*" for all.
func parseDeviceRule(rule string) (parsed specs.LinuxDeviceCgroup, ok bool) {
	parts := strings.Split(rule, " ")
	if len(parts) != 3 {
		return parsed, false
	}
	major, minor, _ := strings.Cut(parts[1], ":")
	parsed = specs.LinuxDeviceCgroup{Allow: true, Type: parts[0], Access: parts[2]}
	var majorOK, minorOK bool
	parsed.Major, majorOK = deviceNumber(major)
	parsed.Minor, minorOK = deviceNumber(minor)
	known := parts[0] == "a" || parts[0] == "b" || parts[0] == "c"
	return parsed, known && majorOK && minorOK && isAccess(parts[2])
}

// deviceNumber reads a number. It returns nil for all numbers: crun 1.8 does not take -1 for them.
func deviceNumber(text string) (number *int64, ok bool) {
	if text == "*" {
		return nil, true
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return &n, err == nil && n >= 0 && n <= math.MaxUint32
}

// isAccess tells whether a text has one to three of the letters r, w and m.
func isAccess(text string) bool {
	return len(text) > 0 && len(text) <= len(allAccess) && strings.Trim(text, allAccess) == ""
}

// checkDevices refuses what cannot be read. Errors: InvalidArgument.
func checkDevices(h *record.HostConfig) error {
	for _, d := range h.Devices {
		if !h.Privileged && !isAccess(d.CgroupPermissions) {
			return classed.Errorf(errdefs.ErrInvalidArgument,
				"invalid permissions %q of device %q: want one to three of r, w and m", d.CgroupPermissions, d.PathOnHost)
		}
	}
	s := &oci.Spec{Linux: &specs.Linux{Resources: &specs.LinuxResources{}}}
	return deviceRulesOpt(h.DeviceCgroupRules)(context.Background(), nil, nil, s)
}
