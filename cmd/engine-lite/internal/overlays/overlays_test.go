package overlays

import (
	"slices"
	"testing"
)

func TestShorten(t *testing.T) {
	for _, c := range []struct {
		layers, short []string
		dir           string
	}{
		{[]string{"/a/b/1/fs", "/a/b/22/fs"}, []string{"1/fs", "22/fs"}, "/a/b"},
		{[]string{"/a/b/1", "/a/bb/1"}, []string{"b/1", "bb/1"}, "/a"},
		{[]string{"/a/b", "/c"}, []string{"a/b", "c"}, "/"},
		{[]string{"/a/b"}, []string{"b"}, "/a"},
	} {
		if dir, short := Shorten(c.layers); dir != c.dir || !slices.Equal(short, c.short) {
			t.Errorf("%q: %s, %q", c.layers, dir, short)
		}
	}
}

func TestHasOption(t *testing.T) {
	list := `rw,lowerdir=/l,upperdir=/a\040b\054c,workdir=/w`
	for option, want := range map[string]bool{"upperdir=/a b,c": true, "upperdir=/a": false, "rw": true, "ro": false} {
		if got := hasOption(list, option); got != want {
			t.Errorf("%s: %t", option, got)
		}
	}
}
