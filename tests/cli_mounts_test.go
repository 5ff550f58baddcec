package tests

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestMounts(t *testing.T) {
	t.Parallel()
	d := oneDocker(t, sharedRig(t))
	mountsWork(t, d)
	sharedMount(t, d)
	mountedImage(t, d)
}

// mountsWork has binds and tmpfs mounted as a user says, shown by inspect, and refused where the host lacks them.
func mountsWork(t *testing.T, d docker) {
	t.Helper()
	dir := t.TempDir()
	hosts, made, other := filepath.Join(dir, "hosts"), filepath.Join(dir, "made/here"), filepath.Join(dir, "other")
	if err := errors.Join(
		os.WriteFile(hosts, []byte("10.1.2.3 mine\n"), 0o644), os.Mkdir(other, 0o700),
		os.WriteFile(filepath.Join(other, "f"), nil, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	name := d.name(t)
	d.ok(t, "create", "--name", name, "--network", "none", "--read-only",
		"-v", made+":/a", "-v", other+":/a/b:ro", "-v", hosts+":/etc/hosts:ro", "-v", "/dev:/x:ro",
		"--mount", "type=bind,source="+other+",target=/m",
		"--mount", "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770",
		"busybox", "sh", "-c", `cat /etc/hosts; ls /a/b /m; touch /a/new /m/new; touch /a/b/no /no 2>&1
			stat -c %a /t; df -k /t | grep -c 1024`)
	if _, err := os.Stat(made); err == nil {
		t.Error("the source of -v was made at create")
	}
	out := d.run(t, "start", "-a", name)
	lines := strings.Split(out.stdout, "\n")
	const want = "10.1.2.3 mine|/a/b:|f||/m:|f|touch: /a/b/no: Read-only file system|" +
		"touch: /no: Read-only file system|1770|1"
	if len(lines) != 11 || strings.Join(lines[:10], "|") != want {
		t.Errorf("in the container: %+v", out)
	}
	for _, path := range []string{filepath.Join(made, "new"), filepath.Join(other, "new"), filepath.Join(made, "b")} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("on the host: %v", err)
		}
	}
	const fields = `{{.Type}} {{.Source}} {{.Destination}} {{.Mode}} {{.RW}} {{.Propagation}}`
	if got := d.format(t, name, `{{range .Mounts}}`+fields+`,{{end}}`); got !=
		"bind "+made+" /a  true rprivate,bind "+other+" /m  true rprivate,tmpfs  /t  true ,"+
			"bind /dev /x ro false rprivate,bind "+other+" /a/b ro false rprivate,"+
			"bind "+hosts+" /etc/hosts ro false rprivate," {
		t.Errorf("inspect: %s", got)
	}
	if got := d.ok(t, "ps", "-a", "--filter", "volume=/a/b", "--format", "{{.Names}}"); got != name {
		t.Errorf("ps by volume: %s", got)
	}
	// The next start looks at the host again.
	if err := os.RemoveAll(other); err != nil {
		t.Fatal(err)
	}
	d.fails(t, 1, "bind source path does not exist: "+other, "start", name)
	d.fails(t, 125, "bind source path does not exist: "+other, "run", "--rm",
		"--mount", "type=bind,source="+other+",target=/m", "busybox")
	d.fails(t, 125, "Duplicate mount point: /a", "run", "--rm", "-v", made+":/a", "-v", hosts+":/a", "busybox")

	// Old clients have what is below a read-only mount writable.
	var c inspected
	for version, has := range map[string]string{"1.44": " ro,", "1.43": " rw,"} {
		d.must(t, &c, "POST", "/v"+version+"/containers/create?name="+d.name(t), `{
			"Image": "busybox", "Cmd": ["grep", " /x/", "/proc/mounts"],
			"HostConfig": {"NetworkMode": "none", "Binds": ["/dev:/x:ro"], "VolumesFrom": ["`+name+`:ro"]}}`)
		for line := range strings.Lines(d.ok(t, "start", "-a", c.ID)) {
			if !strings.Contains(line, has) {
				t.Errorf("a mount below a read-only one, by API %s: %s", version, line)
			}
		}
	}
	if got := d.format(t, c.ID, `{{range .Mounts}}{{.Destination}} {{.RW}},{{end}}`); got !=
		"/a false,/m false,/t false,/x false,/a/b false,/etc/hosts false," {
		t.Errorf("with the mounts of another container: %s", got)
	}
}

// sharedMount has a container mount for the host, where both want that. The engine may have a mount namespace of its
// own.
func sharedMount(t *testing.T, d docker) {
	t.Helper()
	dir := t.TempDir()
	host := func(args ...string) {
		t.Helper()
		command(t, "nsenter", append([]string{"-m", "-t", strconv.Itoa(d.enginePid()), "--"}, args...)...)
	}
	mount := alone("--privileged", "-v", dir+"/in:/s:rshared", "busybox", "mount", "-t", "tmpfs", "none", "/s")
	host("mount", "-t", "tmpfs", "none", dir)
	t.Cleanup(func() { host("umount", "-R", dir) })
	host("mount", "--make-private", dir)
	d.fails(t, 125, "path "+dir+"/in is mounted on "+dir+" but it is not a shared mount", mount...)
	host("mount", "--make-shared", dir)
	d.ok(t, mount...)
	host("mountpoint", "-q", dir+"/in")
}

// mountedImage has a container with the files of its image at another path, and a part of them at a third.
func mountedImage(t *testing.T, d docker) {
	t.Helper()
	create := func(mounts string) string {
		t.Helper()
		var c inspected
		d.must(t, &c, "POST", "/v1.48/containers/create?name="+d.name(t), `{
			"Image": "busybox", "Cmd": ["sh", "-c", "cmp /bin/sh /i/bin/sh && cmp /bin/sh /p/sh && touch /i/x"],
			"HostConfig": {"NetworkMode": "none", "Mounts": [`+mounts+`]}}`)
		return c.ID
	}
	const part = `{"Type": "image", "Source": "busybox", "Target": "/p", "ImageOptions": {"Subpath": "bin"}}`
	id := create(part + `, {"Type": "image", "Source": "busybox", "Target": "/i"}`)
	for range 2 {
		d.fails(t, 1, "/i/x: Read-only file system", "start", "-a", id)
	}
	if got := d.format(t, id, `{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}},{{end}}`); got !=
		"image busybox /i false,image busybox /p false," {
		t.Errorf("inspect: %s", got)
	}
	d.ok(t, "cp", id+":/p/sh", filepath.Join(t.TempDir(), "sh"))
	d.fails(t, 1, "read-only", "cp", "/etc/hostname", id+":/i")
	d.fails(t, 1, "cannot access path", "start", create(strings.ReplaceAll(part, "bin", "nowhere")))
	entries, err := os.ReadDir(filepath.Join(d.root(), "image-mounts"))
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
