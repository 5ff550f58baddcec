package mounts

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// etcFiles are the files that Docker puts into each container's /etc.
var etcFiles = []string{"hostname", "hosts", "resolv.conf"}

// WriteEtc writes these files anew into a directory of the container's, for its next run.
func WriteEtc(dir string, r *record.Record) error {
	hosts, err := hostsFile(r)
	if err != nil {
		return err
	}
	files := map[string]string{
		"hostname": r.Config.Hostname + "\n", "hosts": hosts, "resolv.conf": resolvFile(r),
	}
	if r.HostConfig.NetworkMode.IsHost() && len(r.HostConfig.ExtraHosts) == 0 {
		if raw, err := os.ReadFile("/etc/hosts"); err == nil {
			files["hosts"] = string(raw)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("/etc/%s of the container: %w", name, err)
		}
	}
	return nil
}

func hostsFile(r *record.Record) (string, error) {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, entry := range r.HostConfig.ExtraHosts {
		name, ip, ok := strings.Cut(strings.Replace(entry, "=", ":", 1), ":")
		addr, err := netip.ParseAddr(strings.Trim(ip, "[]"))
		if !ok || name == "" || err != nil {
			return "", classed.Errorf(errdefs.ErrInvalidArgument, "bad format for add-host: %q", entry)
		}
		fmt.Fprintf(&b, "%s\t%s\n", addr, name)
	}
	if !r.HostConfig.NetworkMode.IsHost() {
		names := r.Config.Hostname
		if r.Config.Domainname != "" {
			names = r.Config.Hostname + "." + r.Config.Domainname + " " + names
		}
		fmt.Fprintf(&b, "127.0.1.1\t%s\n", names)
	}
	return b.String(), nil
}

// resolvFile is the host's, unless the user named servers.
func resolvFile(r *record.Record) string {
	h := r.HostConfig
	if len(h.DNS)+len(h.DNSSearch)+len(h.DNSOptions) == 0 {
		raw, _ := os.ReadFile("/etc/resolv.conf") // a host without one has containers without one
		return string(raw)
	}
	var b strings.Builder
	if len(h.DNSSearch) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(h.DNSSearch, " "))
	}
	for _, s := range h.DNS {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(h.DNSOptions) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(h.DNSOptions, " "))
	}
	return b.String()
}
