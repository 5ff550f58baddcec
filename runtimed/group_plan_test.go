package runtimed

import (
	"slices"
	"testing"
)

func TestGroupsBelow(t *testing.T) {
	for _, c := range []struct {
		runtime, path, own string
		unified            bool
		want               []string
	}{
		{"/usr/sbin/runc", "/a/b", "/own/x", false, []string{"/a/b"}},
		{"/usr/sbin/runc", "/a/../../b", "/own/x", false, []string{"/b"}},
		{"/usr/sbin/runc", "", "/own/x", false, []string{"/own/x/id"}},
		{"/usr/sbin/runc", "", "/", false, []string{"/id"}},
		{"/usr/sbin/runc", "a/b", "/own/x", false, []string{"/own/x/a/b"}},
		{"/usr/sbin/runc", "../../../b", "/own/x", false, []string{"/own/x/b"}},
		{"/usr/sbin/runc", "", "/own/x", true, []string{"/own/x/id", "/own/id"}},
		{"/usr/bin/crun", "", "/own/x", true, []string{"/id"}},
		{"/usr/bin/crun", "a", "/own/x", false, []string{"/a"}},
	} {
		if got := (ociRuntime{Path: c.runtime}).groupsBelow(c.path, "id", c.own, c.unified); !slices.Equal(got, c.want) {
			t.Errorf("%s, path %q in %s: %v, want %v", c.runtime, c.path, c.own, got, c.want)
		}
	}
}

func TestIsBelow(t *testing.T) {
	for dir, want := range map[string]bool{"/g/a": true, "/g/a/b": true, "/g/ab": false, "/g": false} {
		if got := isBelow(dir, "/g/a"); got != want {
			t.Errorf("%s: %t", dir, got)
		}
	}
}
