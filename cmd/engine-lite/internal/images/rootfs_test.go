package images

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

func TestContainerIDs(t *testing.T) {
	s := openStore(t, overlayfs)
	for _, id := range []string{"", "a/b", "a\x00"} {
		if _, err := s.PrepareRootfs(t.Context(), id, Image{}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, _, err := s.Usage(t.Context(), "x"); !errdefs.IsNotFound(err) {
		t.Errorf("usage of nothing: %v", err)
	}
	if _, err := s.PrepareRootfs(t.Context(), "empty", Image{}); err != nil {
		t.Errorf("an image without layers: %v", err)
	}
}

func TestNoDescriptorStays(t *testing.T) {
	s, r := openStore(t, overlayfs), newRegistry(t)
	img := makeImage(t, "", "1", makeTar(t, file{name: "x"}))
	ref := r.push("box", "1", img)
	cycle := func() {
		load(t, s, dockerArchive(t, img, "a"))
		if err := s.Pull(t.Context(), ref, PullOptions{}, nil); err != nil {
			t.Fatal(err)
		}
		got, err := s.Resolve(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.PrepareRootfs(t.Context(), "c", got); err != nil {
			t.Fatal(err)
		}
		if err := s.RemoveRootfs(t.Context(), "c"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Remove(t.Context(), img.id().String(), RemoveOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
		requireEmpty(t, s)
	}
	cycle()
	before := fewestOpenFiles(t, 0, 200*time.Millisecond)
	for range 5 {
		cycle()
	}
	if after := fewestOpenFiles(t, before, 10*time.Second); after > before {
		t.Errorf("%d files were open, now %d", before, after)
	}
}

// fewestOpenFiles counts open files until there are no more than so many, or for so long. The registry's side of a
// connection that was hung up closes in its own time, and the store deletes files in the background.
func fewestOpenFiles(t testing.TB, enough int, limit time.Duration) int {
	t.Helper()
	fewest := openFiles(t)
	for deadline := time.Now().Add(limit); fewest > enough && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		fewest = min(fewest, openFiles(t))
	}
	return fewest
}

func openFiles(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func benchmarkStore(b *testing.B) *Store {
	s := openStore(b, "")
	base := makeTar(b, file{name: "x"})
	for i := range 20 {
		load(b, s, dockerArchive(b, makeImage(b, "", fmt.Sprint(i), base), fmt.Sprintf("image%d:latest", i)))
	}
	return s
}

func BenchmarkResolve(b *testing.B) {
	s := benchmarkStore(b)
	id, err := s.Resolve(b.Context(), "image7")
	if err != nil {
		b.Fatal(err)
	}
	for name, ref := range map[string]string{
		"name": "image7", "id": id.ID.String(), "prefix": strings.TrimPrefix(id.ID.String(), "sha256:")[:12],
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Resolve(b.Context(), ref); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPrepareRootfs is what a container's creation and removal pay here.
func BenchmarkPrepareRootfs(b *testing.B) {
	s := benchmarkStore(b)
	img, err := s.Resolve(b.Context(), "image7")
	if err != nil {
		b.Fatal(err)
	}
	var preparing, removing time.Duration
	n := 0
	for b.Loop() {
		id := fmt.Sprint("c", n)
		n++
		start := time.Now()
		if _, err := s.PrepareRootfs(b.Context(), id, img); err != nil {
			b.Fatal(err)
		}
		prepared := time.Now()
		if err := s.RemoveRootfs(b.Context(), id); err != nil {
			b.Fatal(err)
		}
		preparing += prepared.Sub(start)
		removing += time.Since(prepared)
	}
	b.ReportMetric(float64(preparing.Microseconds())/float64(n), "µs/prepare")
	b.ReportMetric(float64(removing.Microseconds())/float64(n), "µs/remove")
}
