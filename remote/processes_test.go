package remote

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestParseCommandLine(t *testing.T) {
	for line, want := range map[string][]string{
		"": nil, "sh\x00": {"sh"}, "sh\x00-c\x00\x00": {"sh", "-c", ""}, "nginx: worker": {"nginx: worker"},
		"\x00": {""},
	} {
		if got := parseCommandLine([]byte(line)); !slices.Equal(got, want) {
			t.Errorf("%q: %q", line, got)
		}
	}
}

// FuzzParseCommandLine reads arbitrary command lines: a process can overwrite its own.
func FuzzParseCommandLine(f *testing.F) {
	for _, line := range []string{"", "sh\x00-c\x00", "\x00\x00", "x"} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		args := parseCommandLine(line)
		if (len(args) == 0) != (len(line) == 0) || strings.Contains(strings.Join(args, ""), "\x00") {
			t.Fatalf("%q", args)
		}
		if joined := []byte(strings.Join(args, "\x00")); !bytes.Equal(joined, bytes.TrimSuffix(line, []byte{0})) {
			t.Fatalf("%q of %q", args, line)
		}
	})
}
