package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

func TestByPreference(t *testing.T) {
	on := func(arch, variant string) ocispec.Descriptor {
		return ocispec.Descriptor{Platform: &ocispec.Platform{OS: "linux", Architecture: arch, Variant: variant}}
	}
	want := platforms.Only(ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"})
	got := byPreference([]ocispec.Descriptor{
		on("arm", "v5"), {}, on("amd64", ""), on("arm", "v7"), on("unknown", ""), on("arm", "v6"),
	}, want)
	if len(got) != 4 || got[0].Platform.Variant != "v7" || got[1].Platform.Variant != "v6" || got[3].Platform != nil {
		t.Errorf("got %+v", got)
	}
}

func TestCredentialsStayHome(t *testing.T) {
	for _, c := range []struct {
		ref, host    string
		auth         Auth
		user, secret string
	}{
		{"busybox", "registry-1.docker.io", Auth{Username: "me", Password: "pw"}, "me", "pw"},
		{"r.test/x", "r.test", Auth{Username: "me", Password: "pw"}, "me", "pw"},
		{"r.test/x", "r.test", Auth{Username: "me", Password: "pw", IdentityToken: "tok"}, "", "tok"},
		{"r.test/x", "evil.test", Auth{Username: "me", Password: "pw"}, "", ""},
		{"r.test/x", "evil.test", Auth{IdentityToken: "tok"}, "", ""},
	} {
		named, err := parseName(c.ref)
		if err != nil {
			t.Fatal(err)
		}
		user, secret, err := credentialsFor(reference.Domain(named), &c.auth)(c.host)
		if err != nil || user != c.user || secret != c.secret {
			t.Errorf("%+v: %q %q %v", c, user, secret, err)
		}
	}
}

func TestBadContent(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	full := fmt.Errorf("write: %w", &fs.PathError{Op: "write", Path: "/x", Err: unix.ENOSPC})
	for _, c := range []struct {
		ctx  context.Context
		err  error
		want error
	}{
		{t.Context(), errors.New("odd"), errdefs.ErrInvalidArgument},
		{t.Context(), errdefs.ErrNotFound, errdefs.ErrInvalidArgument},
		{t.Context(), errdefs.ErrNotImplemented, errdefs.ErrNotImplemented},
		{t.Context(), errdefs.ErrUnavailable, errdefs.ErrUnavailable},
		{t.Context(), full, full},
		{t.Context(), unix.ENOENT, errdefs.ErrInvalidArgument},
		{cancelled, errors.New("odd"), context.Canceled},
	} {
		got := badContent(c.ctx, c.err)
		if !errors.Is(got, c.want) || errors.Is(c.err, full) && errdefs.IsInvalidArgument(got) {
			t.Errorf("%v: got %v", c.err, got)
		}
	}
	if err := badContent(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// FuzzLoad feeds the documents of an OCI layout, whose digests are right.
func FuzzLoad(f *testing.F) {
	img := makeImage(f, "", "1", makeTar(f, file{name: "x"}))
	f.Add(img.config, img.manifest, img.layers[0])
	f.Add([]byte(`{"rootfs":{"diff_ids":["a:b"]}}`), []byte(`{"layers":[{"digest":""}]}`), []byte("x"))
	f.Add([]byte(`null`), []byte(`{"config":{"digest":"sha256:","size":-1}}`), []byte{0x1f, 0x8b})
	s := openStore(f, nativeCopies)
	f.Fuzz(func(t *testing.T, config, manifest, layer []byte) {
		// Let the manifest mean the two blobs wherever the seed's manifest did.
		for from, to := range map[digest.Digest]digest.Digest{
			img.id(): digest.FromBytes(config), digest.FromBytes(img.layers[0]): digest.FromBytes(layer),
		} {
			manifest = bytes.ReplaceAll(manifest, []byte(from), []byte(to))
		}
		desc := describe(ocispec.MediaTypeImageManifest, manifest)
		fuzzed := &testImage{config: config, manifest: manifest, layers: [][]byte{layer}, desc: desc}
		loaded, err := s.Load(t.Context(), bytes.NewReader(ociLayout(t, "fuzzed:latest", fuzzed)))
		if err != nil && !errdefs.IsInvalidArgument(err) && !errdefs.IsNotImplemented(err) {
			t.Errorf("got %v", err)
		}
		for _, l := range loaded {
			if _, err := s.Remove(t.Context(), l.ID.String(), RemoveOptions{Force: true}); err != nil {
				t.Error(err)
			}
		}
	})
}
