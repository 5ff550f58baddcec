package images

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
)

// transcript collects a pull's messages.
type transcript []jsonstream.Message

func (t *transcript) add(m jsonstream.Message) { *t = append(*t, m) }

// of lists the statuses of one line.
func (t transcript) of(id string) []string {
	var list []string
	for _, m := range t {
		if m.ID == id && (len(list) == 0 || list[len(list)-1] != m.Status) {
			list = append(list, m.Status)
		}
	}
	return list
}

func TestPull(t *testing.T) {
	for _, snapshotter := range snapshotters {
		t.Run(snapshotter, func(t *testing.T) {
			s, r := openStore(t, snapshotter), newRegistry(t)
			img := makeImage(t, "", "1", busyboxTree(t), makeTar(t, file{name: "etc/motd", data: []byte("second\n")}))
			s390x := makeImage(t, "s390x", "1", makeTar(t, file{name: "x"}))
			ref := r.pushIndex(t, "library/box", "1", s390x, img)
			pullTwice(t, s, ref, img)
			got, err := s.Resolve(t.Context(), ref)
			if err != nil || got.ID != img.id() {
				t.Fatalf("resolved %+v, %v", got, err)
			}
			for _, d := range []digest.Digest{got.Target.Digest, img.desc.Digest} {
				if _, err := s.Resolve(t.Context(), strings.TrimSuffix(ref, ":1")+"@"+d.String()); err != nil {
					t.Error(err)
				}
			}
			if err := s.Collect(t.Context()); err != nil {
				t.Fatal(err)
			}
			mounts, err := s.PrepareRootfs(t.Context(), "c", got)
			if err != nil {
				t.Fatal(err)
			}
			if text := readMounted(t, mounts, "etc/motd"); text != "second\n" {
				t.Errorf("motd is %q", text)
			}
			if n := r.gets[s390x.id()].Load(); n != 0 {
				t.Error("the other platform's image was fetched")
			}
			if err := s.RemoveRootfs(t.Context(), "c"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Remove(t.Context(), ref, RemoveOptions{}); err != nil {
				t.Fatal(err)
			}
			requireEmpty(t, s)
		})
	}
}

// pullTwice pulls an image that has to be new, then again.
func pullTwice(t *testing.T, s *Store, ref string, img *testImage) {
	t.Helper()
	layer := digest.FromBytes(img.layers[0]).Encoded()[:12]
	var first, second transcript
	if err := s.Pull(t.Context(), ref, PullOptions{}, first.add); err != nil {
		t.Fatal(err)
	}
	want := []string{"Pulling fs layer", "Downloading", "Download complete", "Extracting", "Pull complete"}
	if !slices.Equal(first.of(layer), want) {
		t.Errorf("a new layer: %q", first.of(layer))
	}
	if got := first.of("1"); !slices.Equal(got, []string{"Pulling from library/box"}) {
		t.Errorf("first line: %q", got)
	}
	last := first.of("")
	if len(last) != 2 || !strings.HasPrefix(last[0], "Digest: sha256:") ||
		last[1] != "Status: Downloaded newer image for "+ref {
		t.Errorf("last lines: %q", last)
	}
	if err := s.Pull(t.Context(), ref, PullOptions{}, second.add); err != nil {
		t.Fatal(err)
	}
	if want := []string{"Pulling fs layer", "Already exists"}; !slices.Equal(second.of(layer), want) {
		t.Errorf("a known layer: %q", second.of(layer))
	}
	if last := second.of(""); last[len(last)-1] != "Status: Image is up to date for "+ref {
		t.Errorf("last lines: %q", last)
	}
}

func TestPullByDigest(t *testing.T) {
	s, r := openStore(t, overlayfs), newRegistry(t)
	img := makeImage(t, "", "1", makeTar(t, file{name: "x"}))
	name := strings.TrimSuffix(r.push("box", "1", img), ":1")
	ref := name + "@" + img.desc.Digest.String()
	if err := s.Pull(t.Context(), ref, PullOptions{Platform: "linux/" + runtime.GOARCH}, nil); err != nil {
		t.Fatal(err)
	}
	got, err := s.Resolve(t.Context(), ref)
	if err != nil || len(got.Names) != 0 || !slices.Equal(got.Digests, []string{ref}) {
		t.Errorf("resolved %v %v, %v", got.Names, got.Digests, err)
	}
}

func TestPullFailures(t *testing.T) {
	img := makeImage(t, "", "1", makeTar(t, file{name: "x"}), noise(t, 1000))
	cases := map[string]struct {
		prepare func(r *registry)
		ref     string
		options PullOptions
		class   func(error) bool
	}{
		"no such tag":  {ref: "box:2", class: errdefs.IsNotFound},
		"no such name": {ref: "bix:1", class: errdefs.IsNotFound},
		"malformed":    {ref: "BOX", class: errdefs.IsInvalidArgument},
		"no password":  {prepare: func(r *registry) { r.password = "secret" }, class: errdefs.IsUnauthorized},
		"wrong password": {prepare: func(r *registry) { r.password = "secret" },
			options: PullOptions{Auth: &Auth{Username: "me", Password: "x"}}, class: errdefs.IsUnauthorized},
		"forbidden": {prepare: func(r *registry) { r.deny = http.StatusForbidden }, class: errdefs.IsPermissionDenied},
		"too many": {prepare: func(r *registry) { r.deny = http.StatusTooManyRequests },
			class: errdefs.IsResourceExhausted},
		"broken":           {prepare: func(r *registry) { r.deny = http.StatusBadGateway }, class: errdefs.IsUnavailable},
		"unknown platform": {options: PullOptions{Platform: "linux/s390x"}, class: errdefs.IsNotImplemented},
		"bad platform":     {options: PullOptions{Platform: "a/b/c/d/e"}, class: errdefs.IsInvalidArgument},
		"missing layer": {prepare: func(r *registry) { delete(r.blobs, digest.FromBytes(img.layers[1])) },
			class: errdefs.IsNotFound},
		"damaged layer": {prepare: func(r *registry) {
			d := digest.FromBytes(img.layers[1])
			r.blobs[d] = slices.Concat(r.blobs[d][:len(r.blobs[d])-1], []byte{0xff})
		}, class: errdefs.IsDataLoss},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, r := openStore(t, overlayfs), newRegistry(t)
			ref := r.push("box", "1", img)
			if c.prepare != nil {
				c.prepare(r)
			}
			if c.ref != "" {
				ref = r.host + "/" + c.ref
			}
			if err := s.Pull(t.Context(), ref, c.options, func(jsonstream.Message) {}); !c.class(err) {
				t.Errorf("got %v", err)
			}
			requireEmpty(t, s)
		})
	}
}

func TestPullUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	s := openStore(t, overlayfs)
	if err := s.Pull(t.Context(), l.Addr().String()+"/box", PullOptions{}, nil); !errdefs.IsUnavailable(err) {
		t.Errorf("got %v", err)
	}
}

func TestPullWithPassword(t *testing.T) {
	s, r := openStore(t, overlayfs), newRegistry(t)
	r.password = "secret"
	ref := r.push("box", "1", makeImage(t, "", "1", makeTar(t, file{name: "x"})))
	if err := s.Pull(t.Context(), ref, PullOptions{Auth: &Auth{Username: "me", Password: "secret"}}, nil); err != nil {
		t.Error(err)
	}
}

func TestPullOtherPlatformOnly(t *testing.T) {
	s, r := openStore(t, overlayfs), newRegistry(t)
	img := makeImage(t, "s390x", "1", makeTar(t, file{name: "x"}))
	for _, ref := range []string{r.pushIndex(t, "many", "1", img), r.push("one", "1", img)} {
		if err := s.Pull(t.Context(), ref, PullOptions{}, nil); !errdefs.IsNotFound(err) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	requireEmpty(t, s)
}

func TestPullTellsProgress(t *testing.T) {
	s, r := openStore(t, overlayfs), newRegistry(t)
	r.hold = make(chan struct{})
	img := makeImage(t, "", "1", noise(t, 1<<20))
	ref := r.push("box", "1", img)
	open := sync.OnceFunc(func() { close(r.hold) })
	half := int64(len(img.layers[0]) / 2)
	sawHalf := false
	err := s.Pull(t.Context(), ref, PullOptions{}, func(m jsonstream.Message) {
		if p := m.Progress; p != nil && p.Current >= half && p.Current < p.Total {
			sawHalf = p.Total == int64(len(img.layers[0]))
			open()
		}
	})
	if err != nil || !sawHalf {
		t.Errorf("saw half the layer: %v, %v", sawHalf, err)
	}
}

func TestPullCancelled(t *testing.T) {
	s, r := openStore(t, overlayfs), newRegistry(t)
	r.hold = make(chan struct{})
	ref := r.push("box", "1", makeImage(t, "", "1", makeTar(t, file{name: "x"}), noise(t, 1<<20)))
	ctx, cancel := context.WithCancelCause(t.Context())
	gaveUp := errors.New("gave up")
	var wg sync.WaitGroup
	wg.Go(func() {
		r.waitHalved(ctx, t, 1)
		cancel(gaveUp)
	})
	if err := s.Pull(ctx, ref, PullOptions{}, nil); !errors.Is(err, gaveUp) {
		t.Errorf("got %v", err)
	}
	wg.Wait()
	requireEmpty(t, s)
}

func TestPullSharesBlobs(t *testing.T) {
	s, r := openStore(t, overlayfs), newRegistry(t)
	r.hold = make(chan struct{})
	img := makeImage(t, "", "1", noise(t, 1<<20))
	ref, again := r.push("box", "1", img), r.push("box", "2", img)
	layer := r.gets[digest.FromBytes(img.layers[0])]
	var wg sync.WaitGroup
	for _, ref := range []string{ref, again, ref, again} {
		wg.Go(func() {
			if err := s.Pull(t.Context(), ref, PullOptions{}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	r.waitHalved(t.Context(), t, 1)
	close(r.hold)
	wg.Wait()
	if n := layer.Load(); n != 1 {
		t.Errorf("the layer was fetched %d times", n)
	}
	if got, err := s.Resolve(t.Context(), ref); err != nil || len(got.Names) != 2 {
		t.Errorf("resolved %v, %v", got.Names, err)
	}
	if blobs, ingests, snaps := leftovers(t, s); blobs != 3 || ingests != 0 || snaps != 1 {
		t.Errorf("%d blobs, %d unfinished, %d snapshots", blobs, ingests, snaps)
	}
}

func TestPullMovesTag(t *testing.T) {
	s, r := openStore(t, overlayfs), newRegistry(t)
	one, two := makeImage(t, "", "1", makeTar(t, file{name: "x"})), makeImage(t, "", "2", makeTar(t, file{name: "x"}))
	for _, img := range []*testImage{one, two} {
		if err := s.Pull(t.Context(), r.push("box", "1", img), PullOptions{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Resolve(t.Context(), one.id().String()); err != nil || len(got.Names) != 0 {
		t.Errorf("replaced image: %+v, %v", got.Names, err)
	}
}
