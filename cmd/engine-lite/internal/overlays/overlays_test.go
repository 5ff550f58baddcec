package overlays

import (
	"errors"
	"os"
	"path/filepath"
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

// TestRemoveMark leaves alone what is below the current directory, and a working directory without a mark.
func TestRemoveMark(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.MkdirAll("work/incompat/volatile", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(RemoveMark(""), RemoveMark(filepath.Join(dir, "none"))); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("work/incompat/volatile"); err != nil {
		t.Error(err)
	}
	if err := RemoveMark(dir); err != nil {
		t.Error(err)
	}
	if list, err := os.ReadDir("work"); err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
}
