package tests

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// imageName returns an unused name for images. Images with that name are removed at the
// end of the test.
func (d docker) imageName(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("image%d", names.Add(1))
	d.forgetImage(t, name)
	return name
}

// forgetImage removes an image at the end of the test if the image exists.
func (d docker) forgetImage(t testing.TB, name string) {
	t.Cleanup(func() {
		if a := d.call("DELETE", "/images/"+name+"?force=1", ""); a.err != nil || a.status != 200 && a.status != 404 {
			t.Errorf("remove image %s: %+v", name, a)
		}
	})
}

// smallTar is a root filesystem with busybox as echo, and a file that makes the image
// differ from those of other tests.
func smallTar(t testing.TB, mark string) []byte {
	t.Helper()
	binary, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	return tarOf(t, map[string][]byte{"bin/echo": binary, "mark": []byte(mark)})
}

func tarOf(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, data := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestImport(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.imageName(t)
		r := d.feed(t, bytes.NewReader(smallTar(t, name)), "import", "-c", `CMD ["echo","imported"]`, "-c",
			"ENV PATH=/bin", "-m", "by a test", "-", name+":v1")
		if r.code != 0 || !regexp.MustCompile(`^sha256:[0-9a-f]{64}\n$`).MatchString(r.stdout) {
			t.Fatalf("docker import: %+v", r)
		}
		d.forgetImage(t, name+":v1")
		if out := d.ok(t, alone(name+":v1")...); out != "imported" {
			t.Errorf("docker run: %q", out)
		}
		if got := d.ok(t, "image", "inspect", "--format",
			"{{.Id}} {{.Config.Cmd}}", name+":v1"); got != strings.TrimSpace(r.stdout)+" [echo imported]" {
			t.Errorf("docker image inspect: %s", got)
		}
		d.fails(t, 1, "", "import", filepath.Join(d.dir, "missing.tar"))
	})
}

// TestLoad loads an archive in the form of docker save.
func TestLoad(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.imageName(t)
		layer := smallTar(t, name)
		config := encoded(t, ocispec.Image{
			Platform: ocispec.Platform{OS: "linux", Architecture: d.ok(t, "version", "--format", "{{.Server.Arch}}")},
			Config:   ocispec.ImageConfig{Cmd: []string{"echo", "loaded"}, Env: []string{"PATH=/bin"}},
			RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
		})
		archive := tarOf(t, map[string][]byte{
			"config.json": config, "layer.tar": layer,
			"manifest.json": encoded(t,
				[]map[string]any{{"Config": "config.json", "RepoTags": []string{name + ":latest"},
					"Layers": []string{"layer.tar"}}}),
		})
		if r := d.feed(t, bytes.NewReader(archive), "load"); r.code != 0 ||
			!strings.Contains(r.stdout, "Loaded image: "+name+":latest") {
			t.Fatalf("docker load: %+v", r)
		}
		if out := d.ok(t, alone(name)...); out != "loaded" {
			t.Errorf("docker run: %q", out)
		}
		if r := d.feed(t, strings.NewReader("no archive"), "load"); r.code != 1 || r.stderr == "" {
			t.Errorf("docker load of garbage: %+v", r)
		}
	})
}

func TestImagesTagRmi(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name, other := d.imageName(t), d.imageName(t)
		if r := d.feed(t, bytes.NewReader(smallTar(t, name)), "import", "-c",
			`ENTRYPOINT ["/bin/echo","x"]`, "-", name); r.code != 0 {
			t.Fatalf("docker import: %+v", r)
		}
		id := d.ok(t, "images", "-q", "--no-trunc", name)
		d.ok(t, "tag", name, other+":v2")
		d.forgetImage(t, other+":v2")
		out := d.ok(t, "images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
		for _, want := range []string{name + ":latest " + id, other + ":v2 " + id, "busybox:latest sha256:"} {
			if !strings.Contains(out, want) {
				t.Errorf("docker images does not show %q:\n%s", want, out)
			}
		}
		user := d.name(t)
		d.ok(t, "create", "--name", user, "--network", "none", other+":v2")
		if out := d.ok(t, "rmi", name); !strings.Contains(out, "Untagged: "+name+":latest") {
			t.Errorf("docker rmi: %q", out)
		}
		// The last tag of an image that a container uses.
		d.fails(t, 1, "conflict", "rmi", other+":v2")
		d.fails(t, 1, "conflict", "rmi", id)
		d.ok(t, "rm", user)
		if out := d.ok(t, "rmi", other+":v2"); !strings.Contains(out, "Deleted: "+id) {
			t.Errorf("docker rmi: %q", out)
		}
		d.fails(t, 1, "No such image: "+name, "rmi", name)
		d.fails(t, 1, "No such image", "tag", name, other)
	})
}

func TestPull(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		g := newRegistry(t, "", smallTar(t, t.Name()))
		ref := g.host + "/some/thing:v1"
		d.forgetImage(t, ref)
		out := d.ok(t, "pull", ref)
		for _, want := range []string{"v1: Pulling from some/thing\n", ": Pull complete\n",
			"Digest: " + digest.FromBytes(g.manifest).String(), "Status: Downloaded newer image for " + ref} {
			if !strings.Contains(out, want) {
				t.Errorf("docker pull does not say %q:\n%s", want, out)
			}
		}
		if out := d.ok(t, "pull", ref); !strings.Contains(out, "Status: Image is up to date for "+ref) {
			t.Errorf("docker pull, again: %s", out)
		}
		if out := d.ok(t, alone(ref)...); out != "pulled" {
			t.Errorf("docker run: %q", out)
		}
		if out := d.ok(t, "pull", "-q", ref); !strings.HasSuffix(out, ref) {
			t.Errorf("docker pull -q: %q", out)
		}
		d.fails(t, 1, "missing", "pull", g.host+"/some/thing:missing")
	})
}

// TestPullProgress checks the lines of the API: the bytes of each layer and their sum.
func TestPullProgress(t *testing.T) {
	t.Parallel()
	r := sharedRig(t)
	d := oneDocker(t, r)
	g := newRegistry(t, "", smallTar(t, t.Name()))
	d.forgetImage(t, g.host+"/progress:v1")
	a := r.call("POST", "/images/create?fromImage="+g.host+"/progress&tag=v1", "")
	if a.err != nil || a.status != 200 {
		t.Fatalf("%+v", a)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(a.body) {
		var p struct {
			Status, ID     string
			ProgressDetail struct{ Current, Total int64 }
		}
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		seen[p.Status] = true
		if p.Status == "Downloading" && (p.ID == "" || p.ProgressDetail.Current > p.ProgressDetail.Total) {
			t.Errorf("progress: %s", line)
		}
	}
	for _, want := range []string{"Pulling fs layer", "Download complete", "Extracting", "Pull complete"} {
		if !seen[want] {
			t.Errorf("no line says %q:\n%s", want, a.body)
		}
	}
}

// TestRunPulls runs an image that the engine must pull first.
func TestRunPulls(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		ref := newRegistry(t, "", smallTar(t, t.Name())).host + "/thing:v1"
		d.forgetImage(t, ref)
		r := d.run(t, alone(ref)...)
		if r.code != 0 || r.stdout != "pulled\n" || !strings.Contains(r.stderr, "Unable to find image") ||
			!strings.Contains(r.stderr, "Downloaded newer image") {
			t.Errorf("docker run: %+v", r)
		}
	})
}

// TestPullLogin pulls from a registry that needs a password. The CLI takes the password
// from its configuration.
func TestPullLogin(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		g := newRegistry(t, "me", smallTar(t, t.Name()))
		ref := g.host + "/private:v1"
		d.forgetImage(t, ref)
		d.fails(t, 1, "", "pull", ref)
		config := filepath.Join(d.dir, "docker", strings.ReplaceAll(t.Name(), "/", "-"))
		if err := os.Mkdir(config, 0o700); err != nil {
			t.Fatal(err)
		}
		auth := base64.StdEncoding.EncodeToString([]byte("me:secret"))
		text := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, g.host, auth)
		if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := d.ok(t, "--config", config, "pull", ref); !strings.Contains(out, "Downloaded newer image") {
			t.Errorf("docker pull: %s", out)
		}
	})
}
