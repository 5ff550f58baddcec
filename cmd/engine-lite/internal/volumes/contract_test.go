package volumes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources/resourcestest"
)

// TestContract has parts of volumes as what holders have: each is a mount in the kernel, with the holder in its path.
func TestContract(t *testing.T) {
	resourcestest.Run(t, func(t *testing.T) resourcestest.Harness {
		e := newEngine(t)
		part := func(volume, subpath, at string) record.Mount {
			m := vol(volume, at)
			m.Subpath = subpath
			return m
		}
		for _, name := range []string{"web", "ram"} {
			e.add(name, nil)
			must(t, os.MkdirAll(filepath.Join(e.data(name), "part"), 0o755))
		}
		return resourcestest.Harness{
			Open: func(*testing.T) resources.Provider { e.open(); return e.Local },
			Record: func(_ *testing.T, name string) *record.Record {
				return e.create(name, part("web", "part", "/a"), part("ram", "part", "/b"))
			},
			Refused: func(*testing.T) *record.Record {
				return e.create("refused", part("web", "part", "/a"), part("ram", "missing", "/b"))
			},
			Held: func(*testing.T) map[string]int {
				held := map[string]int{}
				for _, path := range e.mounts() {
					if below, ok := strings.CutPrefix(path, mountsDir+"/"); ok {
						held[filepath.Dir(below)]++
					}
				}
				return held
			},
		}
	})
}
