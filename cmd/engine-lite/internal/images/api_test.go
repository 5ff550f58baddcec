package images

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/jsonstream"
	apiregistry "github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
)

// unused says that no container uses an image.
type unused struct{}

func (unused) ImageUses(digest.Digest) []Use  { return nil }
func (unused) CountByImage() map[string]int64 { return nil }
func (unused) ImageNames() []string           { return nil }

// TestEventsOfLargeLabels does all that has an event to images whose labels are larger than an event can be. Nothing
// fails, and each event has the names and what fits of the labels.
func TestEventsOfLargeLabels(t *testing.T) {
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal.db"), journal.Options{Format: store.Format})
	must(t, err)
	st := store.New(j)
	t.Cleanup(func() { must(t, st.Close()) })
	s, r := openStore(t, overlayfs), newRegistry(t)
	a := NewAPI(s, st, unused{})
	large := strings.Repeat("x", 3<<19)
	tree := makeTar(t, file{name: "x"})
	img := makeImage(t, "", large, tree)
	quiet := func(jsonstream.Message) error { return nil }

	ref := r.push("box", "1", img)
	must(t, a.ImagePull(t.Context(), ref, "", apiregistry.AuthConfig{}, quiet))
	must(t, a.ImageTag(t.Context(), ref, "tagged:1"))
	must(t, a.ImageSave(t.Context(), []string{"tagged:1"}, io.Discard))
	for _, name := range []string{"tagged:1", ref} {
		_, err = a.ImageRemove(t.Context(), name, false, false)
		must(t, err)
	}
	must(t, a.ImageLoad(t.Context(), bytes.NewReader(dockerArchive(t, img, "loaded:1")), true, quiet))
	changes := []string{"LABEL tag=xxx"}
	for i := range 22 {
		changes = append(changes, fmt.Sprintf("LABEL l%d=%s", i, large[:50_000]))
	}
	must(t, a.ImageImport(t.Context(), bytes.NewReader(tree), "imported:1", "", changes, quiet))

	var actions []string
	gone := 0 // the image's last name, and the image itself
	must(t, store.Dump(t.Context(), st, store.DumpOptions{}, func(line store.DumpLine) error {
		e := line.Event
		actions = append(actions, e.Action)
		if e.Attributes["name"] == "" {
			t.Errorf("%s has no name", e.Action)
		}
		if !strings.HasPrefix(e.Attributes["tag"], "xxx") {
			gone++
		}
		return nil
	}))
	if gone > 2 {
		t.Errorf("%d events have nothing of the label", gone)
	}
	want := []string{"pull", "tag", "save", "untag", "untag", "delete", "load", "tag", "import"}
	if !slices.Equal(actions, want) {
		t.Errorf("%v, not %v", actions, want)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
