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
			stat -c %a /t; df -k /t | grep -c 1024
			grep -c " /x[/ ]" /proc/mounts; grep " /x[/ ]" /proc/mounts | grep -vc "[ ,]ro,"`)
	if _, err := os.Stat(made); err == nil {
		t.Error("the source of -v was made at create")
	}
	out := d.run(t, "start", "-a", name)
	lines := strings.Split(out.stdout, "\n")
	const want = "10.1.2.3 mine|/a/b:|f||/m:|f|touch: /a/b/no: Read-only file system|" +
		"touch: /no: Read-only file system|1770|1"
	if len(lines) != 13 || strings.Join(lines[:10], "|") != want || lines[10] == "1" || lines[11] != "0" {
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
	d.fails(t, 125, `mounts of type "image" yet: /v`, "run", "--rm", "--mount", "type=image,source=busybox,target=/v", "busybox")

	// Old clients have what is below a read-only mount writable.
	var c inspected
	d.must(t, &c, "POST", "/v1.43/containers/create?name="+d.name(t), `{
		"Image": "busybox", "Cmd": ["grep", " /x/", "/proc/mounts"],
		"HostConfig": {"NetworkMode": "none", "Binds": ["/dev:/x:ro"], "VolumesFrom": ["`+name+`:ro"]}}`)
	if got := d.ok(t, "start", "-a", c.ID); !strings.Contains(got, " rw,") || strings.Contains(got, " ro,") {
		t.Errorf("the mounts below a read-only one of an old client: %s", got)
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
