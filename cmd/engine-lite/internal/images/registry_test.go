package images

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// registry is a read-only registry on loopback (OCI distribution
// specification, pull), which can want a password and hold blobs back.
type registry struct {
	host string

	mu        sync.Mutex
	manifests map[string]ocispec.Descriptor // by "name:tag" or digest
	blobs     map[digest.Digest][]byte

	password string        // of user "me"; empty lets everyone in
	deny     int           // status for everything, if not zero
	hold     chan struct{} // if set, each layer stops in its middle until hold is closed
	halved   chan struct{} // gets a value for each layer that has stopped
	gets     map[digest.Digest]*atomic.Int32
}

func newRegistry(t testing.TB) *registry {
	r := &registry{
		manifests: make(map[string]ocispec.Descriptor),
		blobs:     make(map[digest.Digest][]byte),
		gets:      make(map[digest.Digest]*atomic.Int32),
		halved:    make(chan struct{}, 100),
	}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

// push offers an image under name:tag, and returns the reference to pull.
func (r *registry) push(name, tag string, img *testImage) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for d, data := range img.blobs() {
		r.blobs[d] = data
		r.gets[d] = new(atomic.Int32)
	}
	r.manifests[name+":"+tag] = img.desc
	r.manifests[img.desc.Digest.String()] = img.desc
	return fmt.Sprintf("%s/%s:%s", r.host, name, tag)
}

// pushIndex offers an index of images.
func (r *registry) pushIndex(t testing.TB, name, tag string, imgs ...*testImage) string {
	for _, img := range imgs {
		r.push(name, "unused", img)
	}
	data := encode(t, indexOf(imgs...))
	desc := describe(ocispec.MediaTypeImageIndex, data)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blobs[desc.Digest] = data
	r.gets[desc.Digest] = new(atomic.Int32)
	r.manifests[name+":"+tag] = desc
	r.manifests[desc.Digest.String()] = desc
	return fmt.Sprintf("%s/%s:%s", r.host, name, tag)
}

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	user, password, _ := q.BasicAuth()
	switch {
	case r.deny != 0:
		w.WriteHeader(r.deny)
		return
	case r.password != "" && (user != "me" || password != r.password):
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	path := strings.TrimPrefix(q.URL.Path, "/v2/")
	if name, ref, ok := strings.Cut(path, "/manifests/"); ok {
		r.serveManifest(w, q, name, ref)
	} else if _, ref, ok := strings.Cut(path, "/blobs/"); ok {
		r.serveBlob(w, q, digest.Digest(ref))
	} else {
		w.WriteHeader(http.StatusNotFound)
	}
}

func (r *registry) serveManifest(w http.ResponseWriter, q *http.Request, name, ref string) {
	r.mu.Lock()
	desc, ok := r.manifests[name+":"+ref]
	if !ok {
		desc, ok = r.manifests[ref]
	}
	data := r.blobs[desc.Digest]
	r.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", desc.MediaType)
	w.Header().Set("Docker-Content-Digest", desc.Digest.String())
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	if q.Method != http.MethodHead {
		_, _ = w.Write(data) // a client that is gone is the test's own
	}
}

func (r *registry) serveBlob(w http.ResponseWriter, q *http.Request, d digest.Digest) {
	r.mu.Lock()
	data, ok := r.blobs[d]
	hold, gets := r.hold, r.gets[d]
	r.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	gets.Add(1)
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	if hold == nil || len(data) < 1<<16 {
		_, _ = w.Write(data) // a client that is gone is the test's own
		return
	}
	_, _ = w.Write(data[:len(data)/2])
	w.(http.Flusher).Flush()
	r.halved <- struct{}{}
	select {
	case <-hold:
		_, _ = w.Write(data[len(data)/2:])
	case <-q.Context().Done():
	}
}

// noise is a tar of one file that doesn't compress.
func noise(t testing.TB, size int) []byte {
	data := make([]byte, size)
	if _, err := io.ReadFull(rand.Reader, data); err != nil {
		t.Fatal(err)
	}
	return makeTar(t, file{name: "noise", data: data})
}

// waitHalved waits until n layers have stopped in their middle.
func (r *registry) waitHalved(ctx context.Context, t testing.TB, n int) {
	t.Helper()
	for range n {
		select {
		case <-r.halved:
		case <-ctx.Done():
			t.Error("no layer was asked for")
			return
		}
	}
}
