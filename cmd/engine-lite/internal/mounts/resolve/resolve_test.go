package resolve

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// testHost has /src and the engine's directory /own.
func testHost(donors map[string][]record.Mount) Host {
	n := 0
	return Host{
		Own: []string{"/var/own"},
		Exists: func(path string) (bool, error) {
			if path == "/fails" {
				return false, errors.New("no answer")
			}
			return path == "/src" || path == "/" || strings.HasPrefix(path, "/var"), nil
		},
		Mounts: func(ref string) ([]record.Mount, error) {
			list, ok := donors[ref]
			if !ok {
				return nil, fmt.Errorf("no such container: %s: %w", ref, errdefs.ErrInvalidArgument)
			}
			return list, nil
		},
		Image: func(ref string) (string, error) { return "id of " + ref, nil },
		NewName: func() string {
			n++
			return fmt.Sprintf("new%d", n)
		},
	}
}

// donor has a volume without a name and a bind.
var donor = map[string][]record.Mount{"c": {
	{
		Type: "volume", Name: "anon", Driver: "local", Destination: "/x", Mode: "z", CopyUp: true, Anonymous: true,
	},
	{
		Type: "bind", Source: "/data", Destination: "/y", Mode: "ro", ReadOnly: true, Propagation: "rslave",
		PropagationAsked: true,
	},
}}

// examples calls fn with each request of a file, and with the line below the request.
func examples(t testing.TB, name string, fn func(request, below string)) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")[1:]
	for pair := range slices.Chunk(lines, 2) {
		fn(pair[0], strings.TrimPrefix(pair[1], "\t"))
	}
	if len(lines) < 20 {
		t.Errorf("%s has %d lines", name, len(lines))
	}
}

func hostConfig(t testing.TB, request string) *record.HostConfig {
	t.Helper()
	var h record.HostConfig
	if err := json.Unmarshal([]byte(request), &h); err != nil {
		t.Fatalf("%s: %v", request, err)
	}
	return &h
}

// TestRefused has wrong mounts refused in dockerd's words.
func TestRefused(t *testing.T) {
	t.Parallel()
	examples(t, "refused.txt", func(request, want string) {
		_, err := Mounts(hostConfig(t, request), nil, testHost(donor))
		if err == nil || err.Error() != want || !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s:\n%v\nnot\n%s", request, err, want)
		}
	})
	if _, err := Mounts(&record.HostConfig{}, map[string]struct{}{"/..": {}}, testHost(nil)); !errdefs.IsInvalidArgument(err) {
		t.Errorf("VOLUME /..: %v", err)
	}
}

// TestMounts resolves all kinds of mounts.
func TestMounts(t *testing.T) {
	t.Parallel()
	examples(t, "mounts.txt", func(request, below string) {
		var want []record.Mount
		if err := json.Unmarshal([]byte(below), &want); err != nil {
			t.Fatalf("%s: %v", below, err)
		}
		got, err := Mounts(hostConfig(t, request), nil, testHost(donor))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v %v\nnot\n%+v", request, got, err, want)
		}
	})
}

// TestOrder has deeper paths after those above them, and paths of anonymous volumes give way.
func TestOrder(t *testing.T) {
	t.Parallel()
	h := record.HostConfig{
		Binds: []string{"/src:/a/b/c", "/src:/b"}, Tmpfs: map[string]string{"/t": ""}, VolumesFrom: []string{"c"},
		Mounts: []record.MountRequest{{Type: "bind", Source: "/src", Target: "/a"}},
	}
	host := testHost(map[string][]record.Mount{"c": {
		{Type: "volume", Name: "from", Destination: "/c/d"}, {Type: "volume", Name: "no", Destination: "/b"},
	}})
	list, err := Mounts(&h, map[string]struct{}{"/a/b": {}, "/b/": {}, "/t/": {}, "/c/d": {}, "rel": {}}, host)
	var got []string
	for _, m := range list {
		got = append(got, m.Destination+"="+m.Source+m.Name)
	}
	want := []string{"/a=/src", "/b=/src", "/rel=new2", "/a/b=new1", "/c/d=from", "/a/b/c=/src"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q %v, not %q", got, err, want)
	}
	if m := list[2]; !m.Anonymous || !m.CopyUp || m.Driver != "local" || m.Mode != "" {
		t.Errorf("an anonymous volume: %+v", m)
	}
}

// TestReadOnlyOfOldClients leaves what is mounted below a read-only bind of an old client as it is.
func TestReadOnlyOfOldClients(t *testing.T) {
	t.Parallel()
	host := testHost(nil)
	host.ReadOnlyNonRecursive = true
	h := record.HostConfig{
		Binds:  []string{"/src:/a:ro", "/src:/b"},
		Mounts: []record.MountRequest{{Type: "bind", Source: "/src", Target: "/c", ReadOnly: true}},
	}
	list, err := Mounts(&h, nil, host)
	if err != nil || !list[0].ReadOnlyNonRecursive || list[1].ReadOnlyNonRecursive || !list[2].ReadOnlyNonRecursive {
		t.Errorf("%+v %v", list, err)
	}
}

// sound checks what holds for each list of mounts.
func sound(t *testing.T, list []record.Mount) {
	t.Helper()
	for i, m := range list {
		if !filepath.IsAbs(m.Destination) || filepath.Clean(m.Destination) != m.Destination || m.Destination == "/" {
			t.Errorf("destination %q", m.Destination)
		}
		if m.Type == record.MountBind && (!filepath.IsAbs(m.Source) || filepath.Clean(m.Source) != m.Source) {
			t.Errorf("source %q", m.Source)
		}
		if m.Type == record.MountVolume && m.Driver == "local" && CheckVolumeName(m.Name) != nil {
			t.Errorf("volume %q", m.Name)
		}
		if m.Subpath != "" && !filepath.IsLocal(m.Subpath) {
			t.Errorf("subpath %q", m.Subpath)
		}
		for _, later := range list[i+1:] {
			if later.Destination == m.Destination || within(later.Destination, m.Destination) {
				t.Errorf("%q is hidden by %q", m.Destination, later.Destination)
			}
		}
	}
}

// FuzzBinds resolves two values of -v and one of --volumes-from.
func FuzzBinds(f *testing.F) {
	f.Add("/src:/x:ro,z", "name:/x/y", "c:ro")
	f.Add("/a", "/b:/c:rslave", "c")
	f.Add("./a:/b", "a:b:c:d", "")
	f.Add(`/src:\:ro`, "::", ":")
	f.Fuzz(func(t *testing.T, a, b, from string) {
		host := testHost(map[string][]record.Mount{"c": {{Type: "volume", Name: "anon", Destination: "/x"}}})
		list, err := Mounts(&record.HostConfig{Binds: []string{a, b}}, map[string]struct{}{from: {}}, host)
		if err == nil {
			sound(t, list)
		} else if !errdefs.IsInvalidArgument(err) {
			t.Error(err)
		}
		list, err = Mounts(&record.HostConfig{Binds: []string{a}, VolumesFrom: []string{from}}, nil, host)
		if err == nil {
			sound(t, list)
		}
	})
}

// FuzzMounts resolves requests in the form of the record, as JSON.
func FuzzMounts(f *testing.F) {
	for _, name := range []string{"mounts.txt", "refused.txt"} {
		examples(f, name, func(request, _ string) { f.Add([]byte(request)) })
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var h record.HostConfig
		if json.Unmarshal(raw, &h) != nil {
			return
		}
		list, err := Mounts(&h, nil, testHost(donor))
		if err == nil {
			sound(t, list)
		} else if !errdefs.IsInvalidArgument(err) {
			t.Error(err)
		}
	})
}
