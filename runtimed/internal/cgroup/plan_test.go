package cgroup

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestGroupsBelow(t *testing.T) {
	for _, c := range []struct {
		fromRoot  bool
		path, own string
		unified   bool
		want      []string
	}{
		{false, "/a/b", "/own/x", false, []string{"/a/b"}},
		{false, "/a/../../b", "/own/x", false, []string{"/b"}},
		{false, "", "/own/x", false, []string{"/own/x/id"}},
		{false, "", "/", false, []string{"/id"}},
		{false, "a/b", "/own/x", false, []string{"/own/x/a/b"}},
		{false, "../../../b", "/own/x", false, []string{"/own/x/b"}},
		{false, "", "/own/x", true, []string{"/own/x/id", "/own/id"}},
		{true, "", "/own/x", true, []string{"/id"}},
		{true, "a", "/own/x", false, []string{"/a"}},
	} {
		if got := groupsBelow(c.path, "id", c.own, c.fromRoot, c.unified); !slices.Equal(got, c.want) {
			t.Errorf("from the root: %t, path %q in %s: %v, want %v", c.fromRoot, c.path, c.own, got, c.want)
		}
	}
}

func TestIsBelow(t *testing.T) {
	for dir, want := range map[string]bool{"/g/a": true, "/g/a/b": true, "/g/ab": false, "/g": false} {
		if got := IsBelow(dir, "/g/a"); got != want {
			t.Errorf("%s: %t", dir, got)
		}
	}
}

func FuzzOOMKills(f *testing.F) {
	f.Add([]byte("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"))
	f.Add([]byte("low 0\noom 1\noom_kill 2"))
	f.Fuzz(func(_ *testing.T, data []byte) { parseOOMKills(data) })
}

// Of any path of a control group, only files below the hierarchy's mount are read.
func FuzzCgroupPath(f *testing.F) {
	f.Add("/x/y")
	f.Add("/../../../etc")
	f.Add("/..")
	f.Add("")
	f.Add("a/../../..")
	f.Fuzz(func(t *testing.T, path string) {
		var g Groups
		if err := g.fillV1(map[string]string{"memory": path, "nope": path}); err != nil {
			t.Fatal(err)
		}
		if g.OOMFile != "" && !strings.HasPrefix(g.OOMFile, cgroupMount+"/") {
			t.Fatalf("%q leads to %q", path, g.OOMFile)
		}
		for _, p := range g.V1 {
			if !filepath.IsAbs(p) || filepath.Clean(p) != p {
				t.Fatalf("%q leads to %q", path, p)
			}
		}
	})
}
