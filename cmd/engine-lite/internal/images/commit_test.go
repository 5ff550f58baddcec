package images

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// prepared returns the root file system of a container of an image with two layers.
func prepared(t testing.TB, s *Store) (img Image, change func(func(root string))) {
	t.Helper()
	load(t, s, dockerArchive(t, makeImage(t, "", "x", busyboxTree(t), makeTar(t, file{name: "d/"}, file{name: "d/f"})), "i"))
	img, err := s.Resolve(t.Context(), "i")
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := s.PrepareRootfs(t.Context(), "c", img)
	if err != nil {
		t.Fatal(err)
	}
	return img, func(fn func(root string)) { withRoot(t, mounts, fn) }
}

func TestCommit(t *testing.T) {
	for _, snapshotter := range snapshotters {
		t.Run(snapshotter, func(t *testing.T) {
			s := openStore(t, snapshotter)
			from, change := prepared(t, s)
			change(func(root string) {
				write(t, root, "new", "x")
				_ = os.RemoveAll(filepath.Join(root, "d"))
				_ = os.Mkdir(filepath.Join(root, "proc"), 0o755)
			})
			var steps []string
			o := CommitOptions{
				Image: from.ID.String(), Reference: "some:1", Author: "me", Comment: "text", CreatedBy: "sh",
				Freeze: func(context.Context) (func(), error) {
					steps = append(steps, "freeze")
					return func() { steps = append(steps, "thaw") }, nil
				},
			}
			o.Config.Cmd = []string{"true"}
			id, err := s.Commit(t.Context(), "c", o)
			if err != nil {
				t.Fatal(err)
			}
			img, err := s.Resolve(t.Context(), "some:1")
			if err != nil || img.ID != id || len(img.Layers) != 3 || img.Config.Config.Cmd[0] != "true" ||
				img.Config.Author != "me" || strings.Join(steps, " ") != "freeze thaw" {
				t.Fatalf("%+v, %v, %v", img, err, steps)
			}
			if h := img.Config.History[len(img.Config.History)-1]; h.Comment != "text" || h.CreatedBy != "sh" || h.EmptyLayer {
				t.Errorf("%+v", h)
			}
			if _, err := s.Remove(t.Context(), "i", RemoveOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := s.Collect(t.Context()); err != nil {
				t.Fatal(err)
			}
			mounts, err := s.PrepareRootfs(t.Context(), "c2", img)
			if err != nil {
				t.Fatal(err)
			}
			withRoot(t, mounts, func(root string) {
				for name, want := range map[string]bool{"new": true, "d": false, "etc/motd": true, "proc": false} {
					if _, err := os.Lstat(filepath.Join(root, name)); (err == nil) != want {
						t.Errorf("%s: %v", name, err)
					}
				}
			})
			// Without a change, the layers stay the same.
			again, err := s.Commit(t.Context(), "c2", CommitOptions{Image: id.String()})
			if err != nil {
				t.Fatal(err)
			}
			same, err := s.Resolve(t.Context(), again.String())
			if err != nil || len(same.Layers) != 3 || !same.Config.History[len(same.Config.History)-1].EmptyLayer {
				t.Errorf("%+v, %v", same, err)
			}
			noMounts(t, s)
			for _, c := range []string{"c", "c2"} {
				if err := s.RemoveRootfs(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			for _, ref := range []string{"some:1", again.String()} {
				if _, err := s.Remove(t.Context(), ref, RemoveOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			requireEmpty(t, s)
		})
	}
}

// TestCommitFails has commits that fail in their middle: nothing of an image stays, and the container is thawed.
func TestCommitFails(t *testing.T) {
	full := errors.New("full")
	for name, test := range map[string]struct {
		freeze func(cancel context.CancelCauseFunc) error
		o      CommitOptions
		is     func(error) bool
		frozen bool
	}{
		"freeze": {func(context.CancelCauseFunc) error { return full }, CommitOptions{},
			func(err error) bool { return errors.Is(err, full) }, false},
		"the client is gone": {func(cancel context.CancelCauseFunc) error { cancel(full); return nil }, CommitOptions{},
			func(err error) bool { return errors.Is(err, full) }, true},
		"name":  {nil, CommitOptions{Reference: "UPPER"}, errdefs.IsInvalidArgument, false},
		"image": {nil, CommitOptions{Image: "nobody"}, errdefs.IsNotFound, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, overlayfs)
			from, change := prepared(t, s)
			change(func(root string) { write(t, root, "new", strings.Repeat("x", 1<<20)) })
			blobs, _, snaps := leftovers(t, s)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			frozen, thawed := false, false
			test.o.Freeze = func(context.Context) (func(), error) {
				if err := test.freeze(cancel); err != nil {
					return nil, err
				}
				frozen = true
				return func() { thawed = true }, nil
			}
			if test.o.Image == "" {
				test.o.Image = from.ID.String()
			}
			if _, err := s.Commit(ctx, "c", test.o); !test.is(err) {
				t.Errorf("%v", err)
			}
			if frozen != test.frozen || thawed != frozen {
				t.Errorf("frozen: %v, thawed: %v", frozen, thawed)
			}
			if b, i, n := leftovers(t, s); b != blobs || i != 0 || n != snaps {
				t.Errorf("%d blobs, %d unfinished, %d snapshots; before %d and %d", b, i, n, blobs, snaps)
			}
		})
	}
}

// TestCommitDiskFull commits more than the disk has room for.
func TestCommitDiskFull(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=24m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
	s, err := Open(t.Context(), filepath.Join(disk, "images"), Options{Snapshotter: overlayfs})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	from, change := prepared(t, s)
	noise := make([]byte, 12<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // which never fails
	change(func(root string) { write(t, root, "new", string(noise)) })
	blobs, _, snaps := leftovers(t, s)
	if _, err := s.Commit(t.Context(), "c", CommitOptions{Image: from.ID.String()}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v", err)
	}
	if b, i, n := leftovers(t, s); b != blobs || i != 0 || n != snaps {
		t.Errorf("%d blobs, %d unfinished, %d snapshots; before %d and %d", b, i, n, blobs, snaps)
	}
	var exported bytes.Buffer // the container's files are as they were
	if err := s.Export(t.Context(), "c", &exported); err != nil || exported.Len() < len(noise) {
		t.Errorf("%d bytes, %v", exported.Len(), err)
	}
}
