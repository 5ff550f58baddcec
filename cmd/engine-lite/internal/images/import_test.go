package images

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func packed(t *testing.T, data []byte, tool ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool[0], tool[1:]...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestImport(t *testing.T) {
	tree := busyboxTree(t)
	for _, snapshotter := range snapshotters {
		for name, data := range map[string][]byte{
			"plain": tree, "gzip": gzipped(t, tree), "bzip2": packed(t, tree, "bzip2"),
		} {
			t.Run(snapshotter+" "+name, func(t *testing.T) {
				s := openStore(t, snapshotter)
				id, err := s.Import(t.Context(), bytes.NewReader(data), ImportOptions{
					Reference: "tree:1", Message: "from a test", Changes: []string{`CMD ["/bin/sh"]`, "ENV A=b"},
				})
				if err != nil {
					t.Fatal(err)
				}
				img, err := s.Resolve(t.Context(), "tree:1")
				if err != nil || img.ID != id || img.Config.Config.Cmd[0] != "/bin/sh" ||
					img.Config.History[0].Comment != "from a test" {
					t.Fatalf("resolved %+v, %v", img, err)
				}
				if err := s.Collect(t.Context()); err != nil {
					t.Fatal(err)
				}
				mounts, err := s.PrepareRootfs(t.Context(), "c", img)
				if err != nil {
					t.Fatal(err)
				}
				if text := readMounted(t, mounts, "etc/motd"); text != "hello\n" {
					t.Errorf("motd is %q", text)
				}
				if blobs, ingests, snaps := leftovers(t, s); blobs != 3 || ingests != 0 || snaps != 2 {
					t.Errorf("%d blobs, %d unfinished, %d snapshots", blobs, ingests, snaps)
				}
			})
		}
	}
}

func TestImportRefuses(t *testing.T) {
	tree := makeTar(t, file{name: "x", data: make([]byte, 5000)})
	for name, c := range map[string]struct {
		data  []byte
		o     ImportOptions
		class func(error) bool
	}{
		"empty":     {class: errdefs.IsInvalidArgument},
		"text":      {data: []byte("certainly not a tar"), class: errdefs.IsInvalidArgument},
		"truncated": {data: tree[:1000], class: errdefs.IsInvalidArgument},
		"cut gzip":  {data: gzipped(t, tree)[:60], class: errdefs.IsInvalidArgument},
		"xz":        {data: []byte{0xfd, '7', 'z', 'X', 'Z', 0, 0, 4}, class: errdefs.IsNotImplemented},
		"name":      {data: tree, o: ImportOptions{Reference: "A"}, class: errdefs.IsInvalidArgument},
		"change":    {data: tree, o: ImportOptions{Changes: []string{"RUN true"}}, class: errdefs.IsInvalidArgument},
		"platform":  {data: tree, o: ImportOptions{Platform: "linux/s390x"}, class: errdefs.IsNotImplemented},
		"hard link": {data: hardLinkToNothing(t), class: errdefs.IsInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, overlayfs)
			if _, err := s.Import(t.Context(), bytes.NewReader(c.data), c.o); !c.class(err) {
				t.Errorf("got %v", err)
			}
			requireEmpty(t, s)
		})
	}
}

func FuzzNames(f *testing.F) {
	for _, ref := range []string{
		"a", "a:1", "x/y@sha256:" + strings.Repeat("0", 64), "sha256:ab", strings.Repeat("f", 64), "[::1]:5000/a", "A",
		"",
	} {
		f.Add(ref)
	}
	c := &catalog{}
	f.Fuzz(func(t *testing.T, ref string) {
		if _, err := c.find(ref); !errdefs.IsNotFound(err) && !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q is found in nothing: %v", ref, err)
		}
		named, err := parseName(ref)
		if err != nil {
			return
		}
		again, err := parseName(named.String())
		if err != nil || again.String() != named.String() {
			t.Errorf("%q is %q, then %v, %v", ref, named, again, err)
		}
	})
}
