package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// snapshotters are what every test of unpacked layers runs on.
var snapshotters = []string{overlayfs, nativeCopies}

// openStore opens a store that is checked and closed at the test's end.
func openStore(t testing.TB, snapshotter string) *Store {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	s, err := Open(t.Context(), t.TempDir(), Options{Snapshotter: snapshotter, Log: logrus.NewEntry(log)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// requireEmpty collects garbage and fails unless nothing at all is left.
func requireEmpty(t *testing.T, s *Store) {
	t.Helper()
	blobs, ingests, snaps := leftovers(t, s)
	if blobs+ingests+snaps != 0 {
		t.Errorf("%d blobs, %d unfinished blobs, %d snapshots are left", blobs, ingests, snaps)
	}
}

// leftovers collects garbage and counts what stays, on disk as well.
func leftovers(t testing.TB, s *Store) (blobs, ingests, snaps int) {
	t.Helper()
	ctx := s.scope(t.Context())
	if err := s.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.content.Walk(ctx, func(content.Info) error { blobs++; return nil }); err != nil {
		t.Fatal(err)
	}
	list, err := s.content.ListStatuses(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = s.backend.Walk(ctx, func(context.Context, snapshots.Info) error { snaps++; return nil })
	if err != nil && !errdefs.IsNotFound(err) { // overlayfs says so while it never had one
		t.Fatal(err)
	}
	return blobs, len(list), snaps
}

// file is one entry of a test tar: a directory if the name ends in a slash.
type file struct {
	name string
	data []byte
	mode int64
	link string
}

func makeTar(t testing.TB, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{
			Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: time.Unix(1700000000, 0),
			Typeflag: tar.TypeReg,
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		switch {
		case f.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		case f.name[len(f.name)-1] == '/':
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// busyboxTree is the tar of a tree with this machine's busybox.
func busyboxTree(t testing.TB) []byte {
	t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	return makeTar(t,
		file{name: "bin/"},
		file{name: "bin/busybox", data: busybox, mode: 0o755},
		file{name: "bin/sh", link: "busybox"},
		file{name: "etc/"},
		file{name: "etc/motd", data: []byte("hello\n")},
	)
}

// testImage is an image with all its blobs, before any store knows it.
type testImage struct {
	config   []byte
	layers   [][]byte // as they travel
	manifest []byte
	desc     ocispec.Descriptor
}

func (i *testImage) id() digest.Digest { return digest.FromBytes(i.config) }

// blobs are everything by digest, the manifest included.
func (i *testImage) blobs() map[digest.Digest][]byte {
	m := map[digest.Digest][]byte{i.id(): i.config, i.desc.Digest: i.manifest}
	for _, l := range i.layers {
		m[digest.FromBytes(l)] = l
	}
	return m
}

// makeImage makes an image of gzipped layers for an architecture ("" is this
// machine's); tag makes its configuration differ from others'.
func makeImage(t testing.TB, arch, tag string, tars ...[]byte) *testImage {
	t.Helper()
	if arch == "" {
		arch = runtime.GOARCH
	}
	when := time.Unix(1700000000, 0).UTC()
	config := dockerspec.DockerOCIImage{Image: ocispec.Image{
		Created:  &when,
		Platform: ocispec.Platform{OS: "linux", Architecture: arch},
		RootFS:   ocispec.RootFS{Type: "layers"},
	}}
	config.Config.Cmd = []string{"sh"}
	config.Config.Labels = map[string]string{"tag": tag}
	img := &testImage{}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
	}
	for _, data := range tars {
		packed := gzipped(t, data)
		img.layers = append(img.layers, packed)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(data))
		config.History = append(config.History, ocispec.History{Created: &when, CreatedBy: "COPY"})
		manifest.Layers = append(manifest.Layers, describe(ocispec.MediaTypeImageLayerGzip, packed))
	}
	config.History = append(config.History, ocispec.History{Created: &when, CreatedBy: "CMD", EmptyLayer: true})
	img.config = encode(t, config)
	manifest.Config = describe(ocispec.MediaTypeImageConfig, img.config)
	img.manifest = encode(t, manifest)
	img.desc = describe(ocispec.MediaTypeImageManifest, img.manifest)
	img.desc.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
	return img
}

func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// dockerArchive is what "docker save" wrote before it wrote OCI layouts.
func dockerArchive(t testing.TB, img *testImage, names ...string) []byte {
	t.Helper()
	config := img.id().Encoded() + ".json"
	files := []file{{name: config, data: img.config}}
	var layers []string
	for i, l := range img.layers {
		r, err := gzip.NewReader(bytes.NewReader(l))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, filepath.Join(string(rune('a'+i)), "layer.tar"))
		files = append(files, file{name: layers[i], data: plain})
	}
	manifest := []map[string]any{{"Config": config, "RepoTags": names, "Layers": layers}}
	return makeTar(t, append(files, file{name: "manifest.json", data: encode(t, manifest)})...)
}

// ociLayout is an OCI image layout of images for several platforms under one
// index with a name.
func ociLayout(t testing.TB, name string, imgs ...*testImage) []byte {
	t.Helper()
	inner := encode(t, indexOf(imgs...))
	desc := describe(ocispec.MediaTypeImageIndex, inner)
	desc.Annotations = map[string]string{ctrimages.AnnotationImageName: name}
	outer := encode(t, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{desc},
	})
	files := []file{
		{name: ocispec.ImageLayoutFile, data: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{name: ocispec.ImageIndexFile, data: outer},
		{name: "blobs/sha256/" + desc.Digest.Encoded(), data: inner},
	}
	for _, img := range imgs {
		for d, data := range img.blobs() {
			files = append(files, file{name: "blobs/sha256/" + d.Encoded(), data: data})
		}
	}
	return makeTar(t, files...)
}

func indexOf(imgs ...*testImage) ocispec.Index {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, img := range imgs {
		index.Manifests = append(index.Manifests, img.desc)
	}
	return index
}

// load loads an archive that has to be good.
func load(t testing.TB, s *Store, archive []byte) []LoadedImage {
	t.Helper()
	loaded, err := s.Load(t.Context(), bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// hardLinkToNothing is a tar that is well formed but can't be unpacked.
func hardLinkToNothing(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: "a", Linkname: "b", Typeflag: tar.TypeLink}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
