package procfs

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestParseBoot(t *testing.T) {
	for text, ok := range map[string]bool{
		"0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0\n": true, "": false, "\n": false, "0f1e": false,
		"0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1fg\n": false, strings.Repeat("ab", 17): false,
	} {
		if id, err := parseBoot(text); (err == nil) != ok || ok && (id[0] != 0x0f || id[15] != 0xf0) {
			t.Errorf("%q: %x, %v", text, id, err)
		}
	}
}

func FuzzParseStartTime(f *testing.F) {
	if self, err := os.ReadFile("/proc/self/stat"); err == nil {
		f.Add(self)
	}
	f.Add([]byte("1 (a) b) S 2"))
	f.Fuzz(func(t *testing.T, data []byte) {
		start, err := parseStartTime(data)
		if err == nil && !bytes.Contains(data, strconv.AppendUint(nil, start, 10)) &&
			!bytes.Contains(data, []byte("0")) {
			t.Errorf("start time %d is nowhere in it", start)
		}
	})
}

func TestParent(t *testing.T) {
	if parent, zombie, err := Parent(os.Getpid()); parent != os.Getppid() || zombie || err != nil {
		t.Errorf("parent %d, zombie %t, %v", parent, zombie, err)
	}
	if _, _, err := Parent(1 << 30); !errdefs.IsNotFound(err) {
		t.Errorf("no process: %v", err)
	}
	for text, want := range map[string]struct {
		parent int
		zombie bool
	}{"7 (a) S 2 (b)) Z 5 6": {5, true}, "7 (sh) S 12 1": {12, false}} {
		if parent, zombie, err := parseParent([]byte(text)); parent != want.parent || zombie != want.zombie || err != nil {
			t.Errorf("%q: %d, %t, %v", text, parent, zombie, err)
		}
	}
}

func FuzzParseParent(f *testing.F) {
	f.Add([]byte("7 (a) S 2 (b)) Z 5 6"))
	f.Add([]byte("(x) S"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _, _ = parseParent(data) })
}
