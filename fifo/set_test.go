package fifo

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

func TestCreateSetsModeAndOwner(t *testing.T) {
	checkLeaks(t)
	old := unix.Umask(0o277)
	defer unix.Umask(old)
	dir := filepath.Join(t.TempDir(), "io")
	set, err := Create(dir, Config{UID: 1234, GID: 4321, Stdin: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Paths{Stdin: dir + "/stdin", Stderr: dir + "/stderr"}); set.Paths() != want || set.Dir() != dir {
		t.Errorf("paths %v in %q, want %v", set.Paths(), set.Dir(), want)
	}
	for path, mode := range map[string]os.FileMode{
		dir:             os.ModeDir | 0o700,
		dir + "/stdin":  os.ModeNamedPipe | 0o600,
		dir + "/stderr": os.ModeNamedPipe | 0o600,
	} {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		if info.Mode() != mode || st.Uid != 1234 || st.Gid != 4321 {
			t.Errorf("%s: mode %v owner %d:%d", path, info.Mode(), st.Uid, st.Gid)
		}
	}
	if _, err := set.OpenStdout(t.Context()); !errdefs.IsNotFound(err) {
		t.Errorf("open of a stream that is not there: %v", err)
	}
}

func TestCreateRefuses(t *testing.T) {
	checkLeaks(t)
	parent := t.TempDir()
	taken := filepath.Join(parent, "taken")
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	some := Config{Stdout: true}
	for name, c := range map[string]struct {
		dir    string
		config Config
		is     func(error) bool
	}{
		"relative":     {"io", some, errdefs.IsInvalidArgument},
		"empty":        {"", some, errdefs.IsInvalidArgument},
		"dots":         {parent + "/../io", some, errdefs.IsInvalidArgument},
		"root":         {"/", some, errdefs.IsInvalidArgument},
		"NUL":          {parent + "/a\x00b", some, errdefs.IsInvalidArgument},
		"no stream":    {parent + "/io", Config{}, errdefs.IsInvalidArgument},
		"negative":     {parent + "/io", Config{UID: -1, Stdout: true}, errdefs.IsInvalidArgument},
		"no such id":   {parent + "/io", Config{GID: math.MaxUint32, Stdout: true}, errdefs.IsInvalidArgument},
		"taken":        {taken, some, errdefs.IsAlreadyExists},
		"no parent":    {parent + "/none/io", some, errdefs.IsNotFound},
		"not a parent": {taken + "/io", some, errdefs.IsFailedPrecondition},
		"long name":    {parent + "/" + strings.Repeat("x", 300), some, errdefs.IsInvalidArgument},
	} {
		if _, err := Create(c.dir, c.config); err == nil || !c.is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	assertEntries(t, parent, "taken")
}

// The path of a FIFO that is a byte too long for the kernel makes the creation fail half
// way.
func TestCreateUndoes(t *testing.T) {
	checkLeaks(t)
	dir := t.TempDir()
	for len(dir) < unix.PathMax-300 {
		dir += "/" + strings.Repeat("d", 200)
	}
	dir += "/" + strings.Repeat("d", unix.PathMax-1-len("/stdin")-len(dir)-1)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Create(dir, Config{Stdin: true, Stdout: true})
	if !errdefs.IsInvalidArgument(err) || !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("create: %v", err)
	}
	assertEntries(t, filepath.Dir(dir))
}

func TestCreateTwice(t *testing.T) {
	set := newSet(t)
	if _, err := Create(set.Dir(), Config{Stdout: true}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("second create: %v", err)
	}
	assertEntries(t, set.Dir(), "stderr", "stdin", "stdout")
}

func TestLoad(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	loaded, err := Load(set.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Paths() != set.Paths() {
		t.Errorf("paths %v, want %v", loaded.Paths(), set.Paths())
	}
	reader, err := loaded.OpenStderr(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if reader.Identity() != set.fifos[stderrName] {
		t.Errorf("identity %v, want %v", reader.Identity(), set.fifos[stderrName])
	}
	for path, is := range map[string]func(error) bool{
		set.Dir() + "/none":       errdefs.IsNotFound,
		set.Dir() + "/stdin":      errdefs.IsFailedPrecondition,
		"relative":                errdefs.IsInvalidArgument,
		set.Dir() + "/stdin/deep": errdefs.IsFailedPrecondition,
	} {
		if _, err := Load(path); err == nil || !is(err) {
			t.Errorf("load %q: %v", path, err)
		}
	}
}

func TestLoadIncomplete(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "io")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	set, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if set.Paths() != (Paths{}) {
		t.Errorf("paths %v", set.Paths())
	}
	if err := set.Remove(); err != nil {
		t.Error(err)
	}
}

// swaps are ways to put another file in a FIFO's place.
var swaps = map[string]func(path string) error{
	"another FIFO": func(path string) error { return unix.Mkfifo(path, 0o600) },
	"file":         func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
	"directory":    func(path string) error { return os.Mkdir(path, 0o700) },
	"socket":       func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) },
	"link to the same FIFO": func(path string) error {
		return os.Symlink(path+".aside", path)
	},
}

func TestSwappedPath(t *testing.T) {
	for name, swap := range swaps {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			set := newSet(t)
			for _, path := range []string{set.Paths().Stdin, set.Paths().Stdout} {
				if err := os.Rename(path, path+".aside"); err != nil {
					t.Fatal(err)
				}
				if err := swap(path); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := set.OpenStdout(t.Context()); !errdefs.IsFailedPrecondition(err) {
				t.Errorf("open stdout: %v", err)
			}
			if _, err := set.OpenStdin(t.Context()); !errdefs.IsFailedPrecondition(err) {
				t.Errorf("open stdin: %v", err)
			}
			if name != "another FIFO" {
				if _, err := Load(set.Dir()); !errdefs.IsFailedPrecondition(err) {
					t.Errorf("load: %v", err)
				}
			}
		})
	}
}

func TestNewOwnerIsNoSwap(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	if err := os.Chown(set.Paths().Stdout, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	openStdout(t, set).Close()
}

// ext4 uses the inode number of a removed file for the next one. The time of birth
// distinguishes them.
func TestSwapWithSameInodeNumber(t *testing.T) {
	set := newSet(t)
	id := set.fifos[stdoutName]
	if id.Born == 0 {
		t.Fatalf("no time of birth in %+v", id)
	}
	id.Born--
	set.fifos[stdoutName] = id
	if _, err := set.OpenStdout(t.Context()); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("open: %v", err)
	}
}

func TestOpenMissing(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	if err := set.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := set.OpenStderr(t.Context()); !errdefs.IsNotFound(err) {
		t.Errorf("open stderr: %v", err)
	}
	if _, err := set.OpenStdin(t.Context()); !errdefs.IsNotFound(err) {
		t.Errorf("open stdin: %v", err)
	}
}

func TestOpenCancelled(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := set.OpenStdout(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("open stdout: %v", err)
	}
	if _, err := set.OpenStdin(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("open stdin: %v", err)
	}
	if _, err := OpenContainer(ctx, set.Paths()); !errors.Is(err, context.Canceled) {
		t.Errorf("open container: %v", err)
	}
}

func TestRemove(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	parent := filepath.Dir(set.Dir())
	other := filepath.Join(set.Dir(), "other")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := set.Remove(); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("remove with something else inside: %v", err)
	}
	assertEntries(t, set.Dir(), "other")
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := set.Remove(); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	assertEntries(t, parent)
}

func TestRemoveSwappedDirectory(t *testing.T) {
	checkLeaks(t)
	set, other := newSet(t), newSet(t)
	if err := os.Rename(set.Dir(), set.Dir()+".aside"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other.Dir(), set.Dir()); err != nil {
		t.Fatal(err)
	}
	if err := set.Remove(); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("remove: %v", err)
	}
	assertEntries(t, other.Dir(), "stderr", "stdin", "stdout")
}

func assertEntries(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, entry := range entries {
		have = append(have, entry.Name())
	}
	if strings.Join(have, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %q, want %q", dir, have, want)
	}
}

func FuzzCheckPath(f *testing.F) {
	for _, path := range []string{"", "/", "/a", "a", "/a/", "/a//b", "/a/../b", "/a\x00b", "//", "/."} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		err := checkPath(path)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%q: %v", path, err)
			}
			return
		}
		for part := range strings.SplitSeq(path[1:], "/") {
			if path[0] != '/' || part == "" || part == "." || part == ".." || strings.Contains(part, "\x00") {
				t.Errorf("accepted %q", path)
			}
		}
	})
}
