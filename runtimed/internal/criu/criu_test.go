package criu

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/encoding/protowire"
)

// pipeData is CRIU's image of the data in pipes, by the pipes' ids.
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
	if err := DropPipeData(images, drop); err != nil {
		t.Errorf("without an image: %v", err)
	}
	if err := os.WriteFile(path, pipeData("zero", "one", "", "three", "four"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := DropPipeData(images, drop); err != nil {
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
	if err := DropPipeData(images, func(uint32) bool { return false }); err != nil {
		t.Errorf("what was written can't be read: %v", err)
	}
	damage := pipeData("zero")
	if err := os.WriteFile(path, damage[:len(damage)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := DropPipeData(images, drop); !errdefs.IsDataLoss(err) {
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
		for out, drop := range map[*bytes.Buffer]func(uint32) bool{&none: func(uint32) bool { return true },
			&one: func(x uint32) bool { return x == id }} {
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

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"streams":["file[1b:988183]","",""]}`))
	f.Add([]byte(`{"streams":["--exec","fd[1]:x","file[g:1]"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m Manifest
		if json.Unmarshal(data, &m) != nil || m.check() != nil {
			return
		}
		for i, arg := range m.Inherit() {
			if i%2 == 1 && (strings.ContainsAny(arg, " \n") || strings.HasPrefix(arg, "-")) {
				t.Fatalf("argument %q", arg)
			}
		}
	})
}
