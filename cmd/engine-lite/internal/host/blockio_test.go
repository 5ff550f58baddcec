package host

import (
	"os"
	"path/filepath"
	"testing"
)

// TestBlockIOLimits asks trees as the kernel makes them.
func TestBlockIOLimits(t *testing.T) {
	tree := func(files map[string]string) string {
		root := t.TempDir()
		for name, text := range files {
			file := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return root
	}
	all := BlockIO{true, true, true, true, true, true}
	for name, c := range map[string]struct {
		version string
		files   map[string]string
		want    BlockIO
	}{
		"2":                      {"2", map[string]string{"cgroup.controllers": "cpu io memory\n"}, all},
		"2 without the io":       {"2", map[string]string{"cgroup.controllers": "cpu memory\n", "blkio/blkio.weight": ""}, BlockIO{}},
		"1 without a controller": {"1", map[string]string{"cgroup.controllers": "io"}, BlockIO{}},
		"1 of a newer kernel": {"1", map[string]string{"blkio/blkio.throttle.read_bps_device": "", "blkio/blkio.throttle.write_iops_device": ""},
			BlockIO{ReadBps: true, WriteIOps: true}},
		"1 of an older kernel": {"1", map[string]string{"blkio/blkio.weight": "", "blkio/blkio.weight_device": ""},
			BlockIO{Weight: true, WeightDevice: true}},
	} {
		if got := blockIOLimits(tree(c.files), c.version); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
