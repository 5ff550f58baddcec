package tests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// registry is a read-only registry on loopback with one image (OCI distribution
// specification, "pull"). Any name and tag is that image.
type registry struct {
	host     string
	user     string // may pull, with the password "secret"; empty for everyone
	manifest []byte
	blobs    map[digest.Digest][]byte
}

// newRegistry serves an image with one layer, an uncompressed tar.
func newRegistry(t testing.TB, user string, layer []byte) *registry {
	t.Helper()
	config := encoded(t, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config:   ocispec.ImageConfig{Cmd: []string{"echo", "pulled"}, Env: []string{"PATH=/bin"}},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
	})
	r := &registry{user: user, blobs: map[digest.Digest][]byte{}}
	r.manifest = encoded(t, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: r.blob(ocispec.MediaTypeImageConfig, config),
		Layers: []ocispec.Descriptor{r.blob(ocispec.MediaTypeImageLayer, layer)},
	})
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

func (r *registry) blob(media string, data []byte) ocispec.Descriptor {
	d := digest.FromBytes(data)
	r.blobs[d] = data
	return ocispec.Descriptor{MediaType: media, Digest: d, Size: int64(len(data))}
}

func encoded(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	user, password, _ := q.BasicAuth()
	last := path.Base(q.URL.Path)
	switch {
	case r.user != "" && (user != r.user || password != "secret"):
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
	case q.URL.Path == "/v2/":
	case strings.Contains(q.URL.Path, "/manifests/") && last != "missing":
		r.send(w, ocispec.MediaTypeImageManifest, r.manifest)
	case strings.Contains(q.URL.Path, "/blobs/") && r.blobs[digest.Digest(last)] != nil:
		r.send(w, "application/octet-stream", r.blobs[digest.Digest(last)])
	default:
		http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`, http.StatusNotFound)
	}
}

// send writes content. For HEAD it sends only the length.
func (r *registry) send(w http.ResponseWriter, media string, data []byte) {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(data).String())
	_, _ = w.Write(data) // the client may be gone
}
