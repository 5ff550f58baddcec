package users

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mountOverlay mounts layers, upmost first, and returns the root directory. The mount has no place in any namespace: it
// ends with the descriptor, even if the test is killed.
func mountOverlay(t testing.TB, layers []string) *os.File {
	t.Helper()
	config, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	must(t, err)
	defer unix.Close(config)
	must(t, unix.FsconfigSetString(config, "lowerdir", strings.Join(layers, ":")))
	must(t, unix.FsconfigCreate(config))
	fd, err := unix.Fsmount(config, unix.FSMOUNT_CLOEXEC, 0)
	must(t, err)
	return os.NewFile(uintptr(fd), "overlay")
}

// byKernel is what a process whose root is the mount reads in a file; empty where there is no regular file.
func byKernel(t testing.TB, root *os.File, name string) string {
	t.Helper()
	fd, err := unix.Openat2(int(root.Fd()), name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT,
	})
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	must(t, unix.Fstat(fd, &st))
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return ""
	}
	text, err := os.ReadFile(ofProcess(fd))
	must(t, err)
	return string(text)
}

var someNames = []string{"etc", "usr", "passwd", "x"}

func one(r *rand.Rand, of []string) string { return of[r.IntN(len(of))] }

// randomPath has what paths in links have: dots, slashes in excess, names that do not exist.
func randomPath(r *rand.Rand) string {
	var parts []string
	for range 1 + r.IntN(4) {
		switch n := r.IntN(10); n {
		case 0:
			parts = append(parts, ".")
		case 1, 2:
			parts = append(parts, "..")
		case 3:
			parts = append(parts, "")
		default:
			parts = append(parts, one(r, someNames))
		}
	}
	return strings.Join(parts, "/")
}

// fillLayer puts something at each name of a directory of a layer: nothing, a file, a directory, a link, a whiteout, a
// pipe.
func fillLayer(t testing.TB, r *rand.Rand, dir string, depth int) {
	for _, name := range someNames {
		path := filepath.Join(dir, name)
		switch n := r.IntN(20); {
		case n < 5:
		case n < 8:
			must(t, os.WriteFile(path, []byte(path), 0o600))
		case n < 13 && depth < 3:
			must(t, os.Mkdir(path, 0o700))
			if r.IntN(4) == 0 {
				must(t, unix.Setxattr(path, "trusted.overlay.opaque", []byte("y"), 0))
			}
			fillLayer(t, r, path, depth+1)
		case n < 18:
			target := randomPath(r)
			if r.IntN(3) == 0 {
				target = "/" + target
			}
			if target != "" {
				must(t, os.Symlink(target, path))
			}
		case n == 18:
			must(t, unix.Mknod(path, unix.S_IFCHR, 0))
		default:
			must(t, unix.Mkfifo(path, 0o600))
		}
	}
}

// TestLayersAsMounted compares files that are read from random layers with those that the kernel shows through the
// mounted layers.
func TestLayersAsMounted(t *testing.T) {
	top := t.TempDir()
	files := 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		var layers []string
		for i := range 2 + r.IntN(3) {
			layers = append(layers, filepath.Join(top, fmt.Sprintf("%d-%d", seed, i)))
			must(t, os.Mkdir(layers[i], 0o700))
			fillLayer(t, r, layers[i], 0)
		}
		files += compareWithMount(t, seed, r, layers)
		for _, layer := range layers {
			must(t, os.RemoveAll(layer))
		}
	}
	if files < 300 {
		t.Errorf("only %d paths led to a file", files)
	}
}

// compareWithMount returns how many paths led to a file.
func compareWithMount(t *testing.T, seed uint64, r *rand.Rand, layers []string) (files int) {
	t.Helper()
	mounted := mountOverlay(t, layers)
	defer mounted.Close()
	names := []string{"etc/passwd", "passwd", "usr/etc/passwd"}
	for range 30 {
		names = append(names, randomPath(r))
	}
	for _, name := range names {
		want, got := byKernel(t, mounted, name), ""
		if f := openIn(t, layers, name); f != nil {
			text, err := io.ReadAll(f)
			closeFiles(f)
			must(t, err)
			got = string(text)
		}
		if got != want {
			t.Errorf("seed %d, %q: %q, and mounted %q", seed, name, got, want)
		}
		if want != "" {
			files++
		}
	}
	return files
}

// TestLinks checks the bounds: as many links as Linux follows, and no work without end.
func TestLinks(t *testing.T) {
	dir := layer(t, map[string]string{"0": "end", "d/d/x": ""})
	for i := range maxLinks + 1 {
		must(t, os.Symlink(fmt.Sprint(i), filepath.Join(dir, fmt.Sprint(i+1))))
	}
	must(t, os.Symlink(strings.Repeat("d/d/../../", 400)+"0", filepath.Join(dir, "long")))
	must(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	mounted := mountOverlay(t, []string{dir, t.TempDir()})
	defer mounted.Close()
	for name, there := range map[string]bool{
		fmt.Sprint(maxLinks): true, fmt.Sprint(maxLinks + 1): false, "loop": false,
	} {
		f := openIn(t, []string{dir}, name)
		if (f != nil) != there || (byKernel(t, mounted, name) != "") != there {
			t.Errorf("%s: found %v, and mounted %q", name, f != nil, byKernel(t, mounted, name))
		}
		closeFiles(f)
	}
	if f := openIn(t, []string{dir}, "long"); f != nil {
		t.Error("a path of 1,600 steps was followed")
	}
}

// TestLookupLeavesNoDescriptor counts the descriptors of this process.
func TestLookupLeavesNoDescriptor(t *testing.T) {
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(list)
	}
	upper, lower := t.TempDir(), layer(t, map[string]string{"etc/passwd": "a:x:1:1::/:\n", "etc/group": ""})
	must(t, os.Symlink("/etc/../etc", filepath.Join(upper, "usr")))
	must(t, os.Mkdir(filepath.Join(upper, "etc"), 0o700))
	before := count()
	for _, name := range []string{"etc/passwd", "usr/passwd", "etc/passwd/x", "usr", "nosuch", "etc/../etc/./nosuch"} {
		closeFiles(openIn(t, []string{upper, lower}, name))
	}
	if _, err := Resolve([]string{upper, lower}, "a", nil); err != nil {
		t.Error(err)
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
}

// BenchmarkResolve looks a user up in layers of which the lowest has the files.
func BenchmarkResolve(b *testing.B) {
	for _, n := range []int{2, 20, 100} {
		layers := []string{layer(b, map[string]string{"etc/passwd": "a:x:1:1::/:\n", "etc/group": ""})}
		for range n - 1 {
			layers = append([]string{layer(b, map[string]string{"usr/x": ""})}, layers...)
		}
		b.Run(fmt.Sprintf("layers=%d", n), func(b *testing.B) {
			for b.Loop() {
				_, err := Resolve(layers, "a", nil)
				must(b, err)
			}
		})
	}
}
