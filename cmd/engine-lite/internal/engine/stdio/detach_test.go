package stdio

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/containerd/errdefs"
)

func TestParseDetachKeys(t *testing.T) {
	for s, want := range map[string][]byte{
		"": {16, 17}, "ctrl-p,ctrl-q": {16, 17}, "a": {'a'},
		"ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_": {0, 27, 28, 29, 30, 31},
		"ctrl-a,z": {1, 'z'},
	} {
		got, err := ParseDetachKeys(s)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"ctrl-", "ctrl-1", "ab", ",", "a,,b", "ctrl-aa", "ä", "CTRL-a", "ctrl-A"} {
		if _, err := ParseDetachKeys(s); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzParseDetachKeys(f *testing.F) {
	for _, s := range []string{"", "ctrl-p,ctrl-q", "a,b", "ctrl-", ",,,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		keys, err := ParseDetachKeys(s)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%q: %v, %v", s, keys, err)
		}
	})
}

// The output is all input before the first detach keys, however the input is split.
func FuzzDetachReader(f *testing.F) {
	f.Add([]byte{16, 17}, []byte{'x', 16, 16, 17, 'y'}, true)
	f.Add([]byte("aab"), []byte("aaaab"), false)
	f.Add([]byte("abab"), []byte("abaabab"), false)
	f.Fuzz(func(t *testing.T, keys, input []byte, single bool) {
		if len(keys) == 0 {
			return
		}
		var from io.Reader = bytes.NewReader(input)
		if single {
			from = iotest.OneByteReader(from)
		}
		got, err := io.ReadAll(&detachReader{r: from, keys: keys})
		want, _, detached := bytes.Cut(input, keys)
		if !bytes.Equal(got, want) || errors.Is(err, ErrDetached) != detached {
			t.Errorf("keys %v in %v: passed on %v (%v), not %v", keys, input, got, err, want)
		}
	})
}

func TestDetachReaderPassesErrors(t *testing.T) {
	broken := errors.New("broken")
	got, err := io.ReadAll(&detachReader{r: io.MultiReader(bytes.NewReader([]byte{'x', 16}), iotest.ErrReader(broken)),
		keys: defaultDetachKeys})
	if string(got) != "x\x10" || !errors.Is(err, broken) {
		t.Errorf("%q, %v", got, err)
	}
}
