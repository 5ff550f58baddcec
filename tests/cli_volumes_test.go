package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestVolumes has volumes used as users of docker do, over a kill of the engine.
func TestVolumes(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	d := oneDocker(t, r)
	box := func(args ...string) []string { return append([]string{"run", "--rm", "--network", "none"}, args...) }

	// A volume begins with the image's files, and keeps what containers write.
	if out := d.ok(t, box("-v", "data:/etc", "busybox", "sh", "-c", "echo new >/etc/new; ls /etc")...); !strings.Contains(out, "passwd") {
		t.Errorf("the image's files: %s", out)
	}
	if out := d.ok(t, box("-v", "data:/d:ro", "busybox", "sh", "-c", "cat /d/new; ls /d; touch /d/no 2>&1 || true")...); !strings.HasPrefix(
		out, "new\n") || !strings.Contains(out, "passwd") || !strings.Contains(out, "Read-only file system") {
		t.Errorf("in the next container: %s", out)
	}
	if out := d.ok(t, box("--mount", "type=volume,source=empty,target=/etc,volume-nocopy", "busybox", "/bin/busybox", "ls", "/etc")...); strings.Contains(
		out, "passwd") {
		t.Errorf("with nocopy: %s", out)
	}
	at := d.ok(t, "volume", "inspect", "-f", "{{.Mountpoint}}", "data")
	if content, err := os.ReadFile(filepath.Join(at, "new")); string(content) != "new\n" {
		t.Errorf("at its mount point: %q, %v", content, err)
	}

	// Who uses a volume keeps it, also while the engine is away.
	name := d.sleeper(t, "-v", "data:/d", "-v", "/anonymous", "--mount", "type=volume,source=ram,target=/ram,volume-opt=type=tmpfs,volume-opt=device=none")
	anonymous := d.format(t, name, `{{range .Mounts}}{{if eq .Destination "/anonymous"}}{{.Name}}{{end}}{{end}}`)
	d.fails(t, 1, "volume is in use", "volume", "rm", "data")
	d.ok(t, "exec", name, "sh", "-c", "echo kept >/ram/f; echo kept >/anonymous/f")
	r.kill(t, r.enginePid())
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	d.fails(t, 1, "volume is in use", "volume", "rm", anonymous)
	if out := d.ok(t, box("--volumes-from", name, "busybox", "cat", "/ram/f", "/anonymous/f", "/d/new")...); out != "kept\nkept\nnew" {
		t.Errorf("with the volumes of another container: %s", out)
	}
	d.ok(t, "stop", "-t", "0", name)
	if out := d.ok(t, box("--volumes-from", name, "busybox", "ls", "/ram")...); out != "" {
		t.Errorf("a tmpfs that nobody used in between: %s", out)
	}
	await(t, "the events of a volume are there", func() bool { // --until is in whole seconds
		out := d.ok(t, "events", "--since", "1h", "--until", "0s", "-f", "volume=ram", "--format", "{{.Action}}")
		return out == "create\nmount\nmount\nunmount\nunmount\nmount\nunmount"
	})

	// Anonymous volumes go with their container if that is wanted, others stay.
	d.ok(t, "rm", "-v", name)
	d.fails(t, 1, "o such volume", "volume", "inspect", anonymous) // the words are the client's
	d.ok(t, box("-v", "/anonymous", "busybox", "true")...)
	if out := d.ok(t, "volume", "ls", "-q"); out != "data\nempty\nram" {
		t.Errorf("volumes: %s", out)
	}
	d.ok(t, "volume", "rm", "data", "empty", "ram")
	if entries, err := os.ReadDir(filepath.Dir(filepath.Dir(at))); err != nil || len(visible(entries)) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// visible leaves out the engine's own directories.
func visible(entries []os.DirEntry) (names []string) {
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}
