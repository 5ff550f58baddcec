package mounts

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// listed returns the mount at /x of a container that has these mounts.
func listed(t *testing.T, at Place, list ...record.Mount) (specs.Mount, string, error) {
	t.Helper()
	made, propagation, err := List(&record.Record{HostConfig: &record.HostConfig{}, Mounts: list}, at)
	if err != nil {
		return specs.Mount{}, "", err
	}
	i := slices.IndexFunc(made, func(m specs.Mount) bool { return m.Destination == "/x" })
	if i < 0 {
		t.Fatalf("nothing at /x: %+v", made)
	}
	return made[i], propagation, nil
}

// TestBindOptions turns mounts into options of the OCI spec.
func TestBindOptions(t *testing.T) {
	t.Parallel()
	src, no := t.TempDir(), errors.New("rro is not supported here")
	bind := func(change func(m *record.Mount)) record.Mount {
		m := record.Mount{Type: record.MountBind, Source: src, Destination: "/x", Propagation: "rprivate"}
		change(&m)
		return m
	}
	file := filepath.Join(src, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for _, c := range []struct {
		m         record.Mount
		recursive error
		want      string
	}{
		{bind(func(*record.Mount) {}), nil, "bind rbind rprivate"},
		{bind(func(m *record.Mount) { m.ReadOnly = true }), nil, "bind rbind ro rro rprivate"},
		{bind(func(m *record.Mount) { m.ReadOnly = true }), no, "bind rbind ro rprivate"},
		{bind(func(m *record.Mount) { m.ReadOnly, m.ReadOnlyNonRecursive = true, true }), nil,
			"bind rbind ro rprivate"},
		{bind(func(m *record.Mount) { m.ReadOnly, m.ReadOnlyForceRecursive = true, true }), nil,
			"bind rbind ro rro rprivate"},
		{bind(func(m *record.Mount) { m.ReadOnly, m.NonRecursive = true, true }), nil, "bind bind ro rprivate"},
		{bind(func(m *record.Mount) { m.ReadOnly, m.Source = true, file }), nil, "bind rbind ro rprivate"},
		{record.Mount{Type: record.MountTmpfs, Destination: "/x", Tmpfs: []string{"size=1024", "exec"}}, nil,
			"tmpfs noexec nosuid nodev size=1024 exec"},
		{record.Mount{Type: record.MountVolume, Destination: "/x", Name: "v"}, nil, "bind rbind"},
		{record.Mount{Type: record.MountTmpfs, Destination: "/x", ReadOnly: true}, nil, "tmpfs noexec nosuid nodev ro"},
		{record.Mount{Type: record.MountImage, Destination: "/x", ReadOnly: true, Propagation: "rprivate"}, nil,
			"bind rbind ro rro rprivate"},
	} {
		at := Place{Sources: map[string]string{"/x": src}, RecursiveReadOnly: c.recursive}
		m, propagation, err := listed(t, at, c.m)
		got := m.Type + " " + strings.Join(m.Options, " ")
		if err != nil || got != c.want || propagation != "" || !strings.HasPrefix(m.Source, src) && m.Type == "bind" {
			t.Errorf("%+v: %q from %s %s %v, not %q", c.m, got, m.Source, propagation, err, c.want)
		}
	}
	force := bind(func(m *record.Mount) { m.ReadOnly, m.ReadOnlyForceRecursive = true, true })
	_, _, err := listed(t, Place{RecursiveReadOnly: no}, force)
	if !errdefs.IsInvalidArgument(err) || err.Error() != no.Error() {
		t.Errorf("recursive by force: %v", err)
	}
	for _, sources := range []map[string]string{nil, {"/x": filepath.Join(src, "none")}} {
		_, _, err := listed(t, Place{Sources: sources}, record.Mount{Type: record.MountVolume, Destination: "/x"})
		if err == nil || errdefs.IsInvalidArgument(err) {
			t.Errorf("a volume that is not on the host, %q: %v", sources, err)
		}
	}
}

// TestSources makes the sources of -v, and no others.
func TestSources(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, link, dangling := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "dangling")
	must(t, errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink("file", link), os.Symlink("none", dangling)))
	source := func(path string, create bool) error {
		m, _, err := listed(t, Place{}, record.Mount{
			Type: record.MountBind, Source: path, Destination: "/x", Propagation: "rprivate", CreateSource: create,
		})
		if err == nil && m.Source != path {
			t.Errorf("%s was mounted in place of %s", m.Source, path)
		}
		return err
	}
	missing := filepath.Join(dir, "a/b")
	err := source(missing, false)
	want := `invalid mount config for type "bind": bind source path does not exist: ` + missing
	if !errdefs.IsInvalidArgument(err) || err.Error() != want {
		t.Errorf("--mount: %v", err)
	}
	for range 2 {
		must(t, source(missing, true))
	}
	info, err := os.Stat(missing)
	if err != nil || info.Mode() != os.ModeDir|0o755 {
		t.Errorf("-v has made %v %v", info, err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "socket"))
	must(t, err)
	t.Cleanup(func() { must(t, listener.Close()) })
	magic := filepath.Join(dir, "magic")
	must(t, os.Symlink("/proc/self/ns/net", magic))
	for _, path := range []string{file, link, filepath.Join(dir, "socket"), "/dev/null", "/proc/self/ns/net", magic} {
		must(t, errors.Join(source(path, true), source(path, false)))
	}
	for _, path := range []string{dangling, filepath.Join(file, "below")} {
		if source(path, true) == nil || source(path, false) == nil {
			t.Errorf("%s was mounted", path)
		}
	}
}

// TestPropagation has the root of the container shared where a mount needs that, and refuses what the host's mount
// cannot have.
func TestPropagation(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"shared", "private"} {
		at := filepath.Join(dir, name)
		must(t, errors.Join(os.Mkdir(at, 0o700), unix.Mount("tmpfs", at, "tmpfs", 0, "size=64k")))
		t.Cleanup(func() { must(t, unix.Unmount(at, unix.MNT_DETACH)) })
		must(t, os.Mkdir(filepath.Join(at, "below"), 0o700))
	}
	must(t, unix.Mount("", filepath.Join(dir, "shared"), "", unix.MS_SHARED, ""))
	must(t, unix.Mount("", filepath.Join(dir, "private"), "", unix.MS_PRIVATE, ""))
	must(t, os.Symlink("shared/below", filepath.Join(dir, "link")))
	private, shared := filepath.Join(dir, "private/below"), filepath.Join(dir, "link")
	on := "path " + private + " is mounted on " + filepath.Dir(private)
	for _, c := range []struct {
		source, propagation string
		asked               bool
		own                 string
		want, root, refused string
	}{
		{shared, "rshared", true, "", "rshared", "shared", ""},
		{shared, "slave", true, "", "slave", "rslave", ""},
		{shared, "rprivate", false, "", "rprivate", "", ""},
		{private, "private", true, "", "private", "", ""},
		{private, "shared", true, "", "", "", on + " but it is not a shared mount"},
		{private, "rslave", true, "", "", "", on + " but it is not a shared or slave mount"},
		// The engine's own directories, also behind a symbolic link that came after create.
		{shared, "rprivate", false, filepath.Join(dir, "shared/below"), "rslave", "rslave", ""},
		{shared, "rprivate", false, filepath.Join(dir, "shared/below/root"), "rslave", "rslave", ""},
		{shared, "rprivate", false, filepath.Join(dir, "shared"), "rslave", "rslave", ""},
		{shared, "rprivate", true, filepath.Join(dir, "shared"), "", "", "must use either propagation mode"},
		{private, "rprivate", false, filepath.Join(dir, "private"), "rslave", "", ""},
	} {
		m, root, err := listed(t, Place{Own: []string{c.own}}, record.Mount{
			Type: record.MountBind, Source: c.source, Destination: "/x",
			Propagation: c.propagation, PropagationAsked: c.asked,
		})
		if c.refused != "" {
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		if err != nil || root != c.root || m.Options[len(m.Options)-1] != c.want {
			t.Errorf("%+v: %q %q %v", c, m.Options, root, err)
		}
	}
	both := []record.Mount{
		{Type: record.MountBind, Source: shared, Destination: "/x", Propagation: "slave"},
		{Type: record.MountBind, Source: shared, Destination: "/y", Propagation: "shared"},
	}
	if _, root, err := listed(t, Place{}, both...); root != "shared" || err != nil {
		t.Errorf("shared and slave: %q %v", root, err)
	}
}

// TestListOrder has all mounts from the root downwards, --tmpfs in place of --mount, and a user's mount in place of
// ours.
func TestListOrder(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	bind := func(at string) record.Mount {
		return record.Mount{Type: record.MountBind, Source: src, Destination: at, Propagation: "rprivate"}
	}
	list, _, err := List(&record.Record{
		HostConfig: &record.HostConfig{
			Tmpfs: map[string]string{"/t/": "size=1k"}, IpcMode: "host", ReadonlyRootfs: true,
		},
		Mounts: []record.Mount{bind("/dev/shm"), bind("/etc"), bind("/t"), bind("/etc/hosts")},
	}, Place{Dir: "/dir"})
	must(t, err)
	var got []string
	for _, m := range list {
		got = append(got, m.Destination+"="+strings.Replace(m.Source, src, "src", 1))
	}
	want := []string{
		"/etc=src", "/t/=tmpfs", "/dev/shm=src", "/etc/hostname=/dir/hostname", "/etc/hosts=src",
		"/etc/resolv.conf=/dir/resolv.conf",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
	if slices.Contains(list[4].Options, "ro") {
		t.Errorf("a user's /etc/hosts of a read-only container: %q", list[4].Options)
	}
}

// TestRecursiveReadOnly asks kernel and runtime.
func TestRecursiveReadOnly(t *testing.T) {
	t.Parallel()
	for runtime, can := range map[string]bool{
		"runc": true, "/usr/bin/crun": true, "io.containerd.runc.v2": true, "runsc": false, "": false,
	} {
		if err := RecursiveReadOnly(runtime); (err == nil) != can {
			t.Errorf("%s: %v", runtime, err)
		}
	}
}
