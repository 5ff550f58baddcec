package runtimed

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/encoding/protowire"
)

// pipeData is an image of pipes' data with these contents, by the pipes' ids.
func pipeData(contents ...string) []byte {
	image := []byte("12345678")
	for id, data := range contents {
		entry := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(id))
		entry = protowire.AppendVarint(protowire.AppendTag(entry, 2, protowire.VarintType), uint64(len(data)))
		entry = protowire.AppendVarint(protowire.AppendTag(entry, 3, protowire.VarintType), 65536)
		image = append(binary.NativeEndian.AppendUint32(image, uint32(len(entry))), entry...)
		image = append(image, data...)
	}
	return image
}

func TestDropPipeData(t *testing.T) {
	images := t.TempDir()
	path := filepath.Join(images, fifoDataImage)
	drop := func(id uint32) bool { return id == 1 || id == 3 }
	if err := dropPipeData(images, drop); err != nil {
		t.Errorf("without an image: %v", err)
	}
	if err := os.WriteFile(path, pipeData("zero", "one", "", "three", "four"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dropPipeData(images, drop); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, word := range []string{"zero", "one", "three", "four"} {
		if bytes.Contains(got, []byte(word)) {
			kept = append(kept, word)
		}
	}
	if !slices.Equal(kept, []string{"zero", "four"}) {
		t.Errorf("kept %q", kept)
	}
	if err := dropPipeData(images, func(uint32) bool { return false }); err != nil {
		t.Errorf("what was written can't be read: %v", err)
	}
	damage := pipeData("zero")
	if err := os.WriteFile(path, damage[:len(damage)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dropPipeData(images, drop); !errdefs.IsDataLoss(err) {
		t.Errorf("a damaged image: %v", err)
	}
	if files, err := os.ReadDir(images); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v", files, err)
	}
}

func FuzzPipeData(f *testing.F) {
	f.Add(pipeData("zero", "one"), uint32(1))
	f.Add(pipeData(), uint32(0))
	f.Add([]byte("12345678\xff\xff\xff\xff"), uint32(0))
	f.Fuzz(func(t *testing.T, image []byte, id uint32) {
		var all, none, one bytes.Buffer
		err := copyPipeData(bytes.NewReader(image), &all, func(uint32) bool { return false })
		if err == nil && !bytes.Equal(all.Bytes(), image) {
			t.Fatalf("%q became %q", image, all.Bytes())
		}
		if err != nil {
			return
		}
		for out, drop := range map[*bytes.Buffer]func(uint32) bool{&none: func(uint32) bool { return true }, &one: func(x uint32) bool { return x == id }} {
			if err := copyPipeData(bytes.NewReader(image), out, drop); err != nil {
				t.Fatal(err)
			}
		}
		if none.Len() != 8 || one.Len() < 8 || one.Len() > len(image) {
			t.Fatalf("%d and %d of %d bytes", none.Len(), one.Len(), len(image))
		}
	})
}

func TestCRIULog(t *testing.T) {
	const log = "(00.000001) Version: 4.1\n(00.1) Error (criu/a.c:1): one\n(00.2)   1: Error (criu/b.c:2): two\n(00.3) Warn (criu/c.c:3): no\n" +
		"(00.4) Error (criu/d.c:4): three\n(00.5) Error (criu/e.c:5): four\n"
	if got := parseCRIULog(strings.NewReader(log)); got != "two; three; four" {
		t.Errorf("%q", got)
	}
}

func FuzzCRIULog(f *testing.F) {
	f.Add("(00.1) Error (criu/a.c:1): one\n")
	f.Add("Error (")
	f.Fuzz(func(t *testing.T, log string) {
		if got := parseCRIULog(strings.NewReader(log)); len(got) > 1000 {
			t.Fatalf("%d bytes", len(got))
		}
	})
}

func TestLacksCRIU(t *testing.T) {
	for version, want := range map[string]bool{
		"runc version 1.1.5\ncommit: x\nspec: 1.0.2-dev\ngo: go1.19.8":   false,
		"crun version 1.8.1\nspec: 1.0.0\n+SYSTEMD +CAP +SECCOMP +YAJL":  true,
		"crun version 1.14\nspec: 1.0.0\n+SYSTEMD +CRIU +SECCOMP\n+YAJL": false,
	} {
		if got := lacksCRIU(version); got != want {
			t.Errorf("%q: %t", version, got)
		}
	}
}

func TestRequireSystemd(t *testing.T) {
	dir := t.TempDir()
	if err := requireSystemd(dir); err != nil {
		t.Error(err)
	}
	if err := requireSystemd(filepath.Join(dir, "x")); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "systemd") {
		t.Errorf("without systemd: %v", err)
	}
}

func TestRuntimeArgs(t *testing.T) {
	for _, c := range []struct {
		label string
		want  []string
		ok    bool
	}{
		{"", nil, true},
		{"[]", []string{}, true},
		{`["--debug","-v","--platform=systrap"]`, []string{"--debug", "-v", "--platform=systrap"}, true},
		{`["--platform","systrap"]`, nil, false},
		{`["delete"]`, nil, false},
		{`["--"]`, nil, false},
		{`["-=x"]`, nil, false},
		{`[""]`, nil, false},
		{`["--root=/"]`, nil, false},
		{`["-root=/"]`, nil, false},
		{`["--log=/x"]`, nil, false},
		{`["--x=\u0000"]`, nil, false},
		{`"--debug"`, nil, false},
		{`{}`, nil, false},
		{`[1]`, nil, false},
		{`["--debug"`, nil, false},
	} {
		got, err := parseRuntimeArgs(c.label)
		if !slices.Equal(got, c.want) || (err == nil) != c.ok || (err != nil && !errdefs.IsInvalidArgument(err)) {
			t.Errorf("%s: %q, %v", c.label, got, err)
		}
	}
}

func FuzzRuntimeArgs(f *testing.F) {
	f.Add(`["--debug","--a=b"]`)
	f.Add(`["delete"]`)
	f.Fuzz(func(t *testing.T, label string) {
		args, err := parseRuntimeArgs(label)
		if err != nil && args != nil {
			t.Fatalf("%q with %v", args, err)
		}
		for _, arg := range args {
			if arg[0] != '-' || strings.ContainsRune(arg, 0) || strings.HasPrefix(strings.TrimLeft(arg, "-"), "root=") {
				t.Fatalf("%q from %q", arg, label)
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"streams":["file[1b:988183]","",""]}`))
	f.Add([]byte(`{"streams":["--exec","fd[1]:x","file[g:1]"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m manifest
		if json.Unmarshal(data, &m) != nil || m.check() != nil {
			return
		}
		for i, arg := range m.inherit() {
			if i%2 == 1 && (strings.ContainsAny(arg, " \n") || strings.HasPrefix(arg, "-")) {
				t.Fatalf("argument %q", arg)
			}
		}
	})
}

// What a client of a later containerd sets is refused, too, although this one can't name it.
func TestUnknownOption(t *testing.T) {
	packed, err := typeurl.MarshalAnyToProto(&options.Options{BinaryName: "x"})
	if err != nil {
		t.Fatal(err)
	}
	packed.Value = protowire.AppendVarint(protowire.AppendTag(packed.Value, 99, protowire.VarintType), 1)
	if _, err := runcOptions(packed); !errdefs.IsNotImplemented(err) {
		t.Errorf("an unknown option: %v", err)
	}
}
