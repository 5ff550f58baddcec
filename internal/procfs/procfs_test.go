package procfs

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"
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
