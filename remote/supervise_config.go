package remote

import (
	"fmt"
	"path/filepath"
	"strings"
)

// notNeeded are plugins of containerd that this package doesn't use, and that use files
// outside of containerd's directories or take time to start. A release that doesn't have
// one ignores its name.
var notNeeded = []string{
	"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
	"io.containerd.internal.v1.restart", "io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp",
	"io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
	"io.containerd.snapshotter.v1.zfs",
}

// arguments are containerd's arguments. They depend on Dir only, since the next
// supervisor of Dir finds containerd by them.
func (o *SupervisorOptions) arguments() []string { return []string{"--config", o.config()} }

// containerdConfig returns the configuration file, in the format that all releases from
// 1.6 on read.
func (o *SupervisorOptions) containerdConfig() []byte {
	level := o.LogLevel
	if level == "" {
		level = "info"
	}
	var off strings.Builder
	for _, plugin := range notNeeded {
		fmt.Fprintf(&off, "  %q,\n", plugin)
	}
	return fmt.Appendf(nil, `# Written by engine-lite at each start.
version = 2
root = %q
state = %q
disabled_plugins = [
%s]
[debug]
  level = %q
[grpc]
  address = %q
[plugins."io.containerd.internal.v1.opt"]
  path = %q
`, o.Root, filepath.Join(o.Dir, "state"), &off, level, o.address(), filepath.Join(o.Root, "opt"))
}
