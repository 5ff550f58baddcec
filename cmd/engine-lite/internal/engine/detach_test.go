package engine

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
)

func TestParseDetachKeys(t *testing.T) {
	for s, want := range map[string][]byte{
		"": {16, 17}, "ctrl-p,ctrl-q": {16, 17}, "a": {'a'}, "ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_": {0, 27, 28, 29, 30, 31},
		"CTRL-A,z": {1, 'z'},
	} {
		got, err := parseDetachKeys(s)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"ctrl-", "ctrl-1", "ab", ",", "a,,b", "ctrl-aa", "ä"} {
		if _, err := parseDetachKeys(s); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzParseDetachKeys(f *testing.F) {
	for _, s := range []string{"", "ctrl-p,ctrl-q", "a,b", "ctrl-", ",,,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		keys, err := parseDetachKeys(s)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%q: %v, %v", s, keys, err)
		}
	})
}

// What is passed on is all before the first place of the keys, however the
// input is cut.
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
		if !bytes.Equal(got, want) || errors.Is(err, errDetached) != detached {
			t.Errorf("keys %v in %v: passed on %v (%v), not %v", keys, input, got, err, want)
		}
	})
}

func TestDetachReaderPassesErrors(t *testing.T) {
	broken := errors.New("broken")
	got, err := io.ReadAll(&detachReader{r: io.MultiReader(bytes.NewReader([]byte{'x', 16}), iotest.ErrReader(broken)), keys: defaultDetachKeys})
	if string(got) != "x\x10" || !errors.Is(err, broken) {
		t.Errorf("%q, %v", got, err)
	}
}

// A detach is told, and ends nothing but the attachment.
func TestDetachIsTold(t *testing.T) {
	r := newRig(t)
	id := r.run("", "cat", func(req *container.CreateRequest) { req.Tty, req.OpenStdin = true, true })
	typed := func(bool) (Streams, error) {
		return Streams{Stdin: bytes.NewReader([]byte("x\x10\x11")), Stdout: io.Discard}, nil
	}
	must(t, r.e.ContainerAttach(t.Context(), id, AttachOptions{Stdin: true, Stdout: true, Stream: true, Open: typed}))
	exec, err := r.e.ExecCreate(t.Context(), id, container.ExecCreateRequest{
		Cmd: []string{"sh", "-c", "cat"}, Tty: true, AttachStdin: true, AttachStdout: true,
	})
	must(t, err)
	must(t, r.e.ExecStart(t.Context(), exec, ExecStartOptions{Open: typed}))
	if got, err := r.e.ExecInspect(t.Context(), exec); err != nil || !got.Running {
		t.Errorf("the exec: %+v, %v", got, err)
	}
	want := []string{"create", "start", "attach", "detach", "exec_create: sh -c cat", "exec_start: sh -c cat", "exec_detach"}
	if got := r.actions(id); !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}
