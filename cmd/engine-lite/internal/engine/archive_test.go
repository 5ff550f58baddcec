package engine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/users"
)

func archived(t *testing.T, name, text string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o644, Typeflag: tar.TypeReg}))
	_, err := w.Write([]byte(text))
	must(t, errors.Join(err, w.Close()))
	return &b
}

func (r *rig) unpack(id, path string, archive io.Reader, more ...func(*UnpackOptions)) error {
	o := UnpackOptions{Path: path, Open: func(context.Context) io.Reader { return archive }}
	for _, fn := range more {
		fn(&o)
	}
	return r.e.ContainerUnpack(r.t.Context(), id, o)
}

func (r *rig) pack(id, path string) (map[string]string, error) {
	var b bytes.Buffer
	err := r.e.ContainerPack(r.t.Context(), id, PackOptions{
		Path: path, Open: func(context.Context, container.PathStat) (io.Writer, error) { return &b, nil },
	})
	found := map[string]string{}
	for tr := tar.NewReader(&b); err == nil; {
		h, end := tr.Next()
		if end != nil {
			return found, nil
		}
		var text []byte
		text, err = io.ReadAll(tr)
		found[h.Name] = string(text)
	}
	return found, err
}

// TestCopy copies to and from a container that was never started, that runs, is paused, and has ended.
func TestCopy(t *testing.T) {
	r := newRig(t)
	id := r.create("c1", "sleep 1000")
	check := func(when string) {
		t.Helper()
		if err := r.unpack(id, "/", archived(t, when, "text of "+when)); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if got, err := r.pack("c1", when); err != nil || got[when] != "text of "+when || len(got) != 1 {
			t.Errorf("%s: %q, %v", when, got, err)
		}
		s, err := r.e.ContainerStatPath(t.Context(), id, "/"+when)
		if err != nil || s.Name != when || s.Size != int64(8+len(when)) {
			t.Errorf("%s: %+v, %v", when, s, err)
		}
	}
	check("created")
	must(t, r.e.ContainerStart(t.Context(), id))
	check("running")
	if got, err := r.pack(id, "/etc/hostname"); err != nil || !strings.HasPrefix(got["hostname"], id[:12]) {
		t.Errorf("the host's name: %q, %v", got, err)
	}
	must(t, r.e.ContainerPause(t.Context(), id))
	check("paused")
	must(t, r.e.ContainerKill(t.Context(), id, ""))
	r.ended(id)
	check("ended")
	var count int
	for _, action := range r.actions(id) {
		if action == "archive-path" || action == "extract-to-dir" {
			count++
		}
	}
	if count != 9 {
		t.Errorf("events: %v", r.actions(id))
	}
	for path, want := range map[string]string{
		"/none": "Could not find the file /none in container c1", "none/.": "Could not find the file none/. in container c1",
	} {
		_, err := r.e.ContainerStatPath(t.Context(), "c1", path)
		_, packErr := r.pack("c1", path)
		for _, err := range []error{err, packErr, r.unpack("c1", path, archived(t, "x", ""))} {
			if !errdefs.IsNotFound(err) || err.Error() != want {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	if _, err := r.pack("c2", "/"); !errdefs.IsNotFound(err) {
		t.Errorf("no container: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	must(t, r.task(id).endCopies(ctx, time.Hour)) // none is under way
}

// TestCopyArchives has archives that are compressed, empty, and of another user.
func TestCopyArchives(t *testing.T) {
	r := newRig(t)
	id := r.create("", "", func(req *container.CreateRequest) { req.User = "1234:56" })
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	_, err := io.Copy(w, archived(t, "a", "text"))
	must(t, errors.Join(err, w.Close()))
	must(t, r.unpack(id, "/", &compressed, func(o *UnpackOptions) { o.CopyUIDGID = true }))
	must(t, r.unpack(id, "/", strings.NewReader("")))
	rootfs, err := r.e.images.Mounts(t.Context(), id)
	must(t, err)
	info, err := os.Stat(filepath.Join(users.Layers(rootfs)[0], "a"))
	must(t, err)
	if s := info.Sys().(*syscall.Stat_t); s.Uid != 1234 || s.Gid != 56 {
		t.Errorf("the owner: %d:%d", s.Uid, s.Gid)
	}
	if err := r.unpack(id, "/", strings.NewReader("\xfd7zXZ\x00")); !errdefs.IsNotImplemented(err) {
		t.Errorf("xz: %v", err)
	}
	named := r.create("", "", func(req *container.CreateRequest) { req.User = "nobody-knows" })
	err = r.unpack(named, "/", archived(t, "a", ""), func(o *UnpackOptions) { o.CopyUIDGID = true })
	if !errdefs.IsInvalidArgument(err) {
		t.Errorf("an unknown user: %v", err)
	}
}

// TestCopyRemoved removes a container during a copy whose client sends nothing more: the copy ends, the removal goes
// on.
func TestCopyRemoved(t *testing.T) {
	r := newRig(t)
	id := r.create("", "")
	copied, open := make(chan error, 1), make(chan struct{})
	go func() {
		copied <- r.unpack(id, "/", nil, func(o *UnpackOptions) {
			o.Open = func(ctx context.Context) io.Reader {
				from, to := io.Pipe()
				context.AfterFunc(ctx, func() { _ = to.CloseWithError(ctx.Err()) })
				close(open)
				return from
			}
		})
	}()
	receive(t, closedLater(open))
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	if err := receive(t, copied); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "started or removed") {
		t.Errorf("the copy: %v", err)
	}
	r.empty()
	if slices.Contains(r.actions(id), "extract-to-dir") {
		t.Error("there is an event of the copy")
	}
}

// closedLater is a channel that gets a value when another one is closed.
func closedLater(closed <-chan struct{}) <-chan bool {
	ch := make(chan bool, 1)
	go func() {
		<-closed
		ch <- true
	}()
	return ch
}

// TestCopyStarted starts a container during a copy: the start waits for the copy's end.
func TestCopyStarted(t *testing.T) {
	r := newRig(t)
	id := r.create("", "sleep 1000")
	archive, started := archived(t, "a", "text"), make(chan error, 1)
	must(t, r.e.ContainerUnpack(t.Context(), id, UnpackOptions{Path: "/", Open: func(context.Context) io.Reader {
		go func() { started <- r.e.ContainerStart(context.Background(), id) }()
		for o := r.task(id); ; time.Sleep(time.Millisecond) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			err := o.Lock(ctx)
			cancel()
			if err != nil { // the start has the lock
				return archive
			}
			o.Unlock()
		}
	}}))
	must(t, receive(t, started))
	if got, err := r.pack(id, "/a"); err != nil || got["a"] != "text" {
		t.Errorf("%q, %v", got, err)
	}
}
