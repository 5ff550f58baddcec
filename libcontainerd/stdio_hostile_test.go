package libcontainerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

// TestFIFOSwapped puts another file in a FIFO's place while no engine runs. The streams
// aren't restored, and the other file stays.
func TestFIFOSwapped(t *testing.T) {
	for name, swap := range map[string]func(path, target string) error{
		"file":      func(path, _ string) error { return os.WriteFile(path, []byte("mine"), 0o600) },
		"directory": func(path, _ string) error { return os.Mkdir(path, 0o700) },
		"symlink":   func(path, target string) error { return os.Symlink(target, path) },
	} {
		for _, stream := range []string{"stdin", "stdout", "stderr"} {
			t.Run(name+" for "+stream, func(t *testing.T) {
				before, root := descriptors(t), t.TempDir()
				target := filepath.Join(t.TempDir(), "target")
				if err := os.WriteFile(target, []byte("theirs"), 0o600); err != nil {
					t.Fatal(err)
				}
				s := FIFO(root)
				st, files := opened(t, s, config(InitProcess))
				if err := st.Detach(); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(root, "c", InitProcess, stream)
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				if err := swap(path, target); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Restore(t.Context(), config(InitProcess)); err == nil {
					t.Error("restored")
				}
				if text, err := os.ReadFile(target); err != nil || string(text) != "theirs" {
					t.Errorf("the symlink's target holds %q, %v", text, err)
				}
				closed(t, files.Stdin, files.Stdout, files.Stderr)
				// a directory is no stream, and isn't removed
				if err := st.Close(); (err != nil) != (name == "directory") {
					t.Error(err)
				}
				if after := descriptors(t); after != before {
					t.Errorf("%d descriptors became %d", before, after)
				}
			})
		}
	}
}

// TestRemoveStreams removes the streams of all processes of one container, and nothing
// else.
func TestRemoveStreams(t *testing.T) {
	root := t.TempDir()
	s := FIFO(root)
	remover := s.(StreamRemover)
	for _, c := range []StreamsConfig{config(InitProcess), config("e1"), {ContainerID: "other", ProcessID: "e1"}} {
		st, err := s.Create(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Detach(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // there may be none
		if err := remover.RemoveStreams(t.Context(), "c"); err != nil {
			t.Fatal(err)
		}
	}
	left, err := filepath.Glob(root + "/*/*/*")
	if err != nil || len(left) != 2 || !strings.HasPrefix(left[0], root+"/other/e1/") {
		t.Fatalf("left %v, %v", left, err)
	}
	stranger := filepath.Join(root, "other", "e1", "stranger")
	if err := os.WriteFile(stranger, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := remover.RemoveStreams(t.Context(), "other"); err == nil {
		t.Error("no error over what isn't a stream")
	}
	if _, err := os.Stat(stranger); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"", "..", "../" + filepath.Base(root)} {
		if err := remover.RemoveStreams(t.Context(), id); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// FuzzIDs checks that every id that CheckID takes is the name of one file in its
// directory.
func FuzzIDs(f *testing.F) {
	f.Add("c", "e1")
	f.Add("../x", "init")
	f.Add("a\x00b", "\xff")
	f.Fuzz(func(t *testing.T, container, process string) {
		s := &fifoStdio{root: "/r"}
		dir, err := s.dir(StreamsConfig{ContainerID: container, ProcessID: process})
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Fatal(err)
			}
			return
		}
		if dir != "/r/"+container+"/"+process || filepath.Clean(dir) != dir || len(dir) > 3+2*longestOfIDs {
			t.Fatalf("%q and %q made %q", container, process, dir)
		}
		if err := checkExecID(container, process); (err == nil) == (process == InitProcess || process == container) {
			t.Fatalf("%q as an exec of %q: %v", process, container, err)
		}
	})
}
