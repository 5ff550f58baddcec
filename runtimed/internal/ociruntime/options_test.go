package ociruntime

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

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
	if err := RequireSystemd(dir); err != nil {
		t.Error(err)
	}
	if err := RequireSystemd(filepath.Join(dir, "x")); !errdefs.IsFailedPrecondition(err) ||
		!strings.Contains(err.Error(), "systemd") {
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
		got, err := ParseArgs(c.label)
		if !slices.Equal(got, c.want) || (err == nil) != c.ok || (err != nil && !errdefs.IsInvalidArgument(err)) {
			t.Errorf("%s: %q, %v", c.label, got, err)
		}
	}
}

func FuzzRuntimeArgs(f *testing.F) {
	f.Add(`["--debug","--a=b"]`)
	f.Add(`["delete"]`)
	f.Fuzz(func(t *testing.T, label string) {
		args, err := ParseArgs(label)
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

// An option of a later containerd is refused, too, without its name.
func TestUnknownOption(t *testing.T) {
	packed, err := typeurl.MarshalAnyToProto(&options.Options{BinaryName: "x"})
	if err != nil {
		t.Fatal(err)
	}
	packed.Value = protowire.AppendVarint(protowire.AppendTag(packed.Value, 99, protowire.VarintType), 1)
	if _, err := RuncOptions(packed); !errdefs.IsNotImplemented(err) {
		t.Errorf("an unknown option: %v", err)
	}
}

func TestBuiltWithSeccomp(t *testing.T) {
	for text, lacks := range map[string]bool{
		"crun version 1.8.1\nspec: 1.0.0\n+SYSTEMD +CAP +SECCOMP +EBPF\n": false,
		"crun version 1.8.1\nspec: 1.0.0\n+SYSTEMD +CAP\n":                true,
		"runc version 1.1.5\nlibseccomp: 2.5.4\n":                         false, "runsc version release\n": false,
		"": false, "crun ": true,
	} {
		if parseVersion(text) != lacks {
			t.Errorf("%q lacks seccomp: %v", text, !lacks)
		}
	}
	for text, want := range map[string][2]bool{
		`{"linux":{"seccomp":{"enabled":true}}}`:  {false, true},
		`{"linux":{"seccomp":{"enabled":false}}}`: {true, true},
		`{"linux":{"seccomp":{}}}`:                {}, `{"linux":{}}`: {}, `{}`: {}, `null`: {}, `[]`: {},
		"garbage": {}, "": {},
	} {
		if lacks, known := parseFeatures([]byte(text)); lacks != want[0] || known != want[1] {
			t.Errorf("%q: %v, %v", text, lacks, known)
		}
	}
}

// Options are those of runc, or refused.
func FuzzOptions(f *testing.F) {
	good, err := proto.Marshal(&options.Options{BinaryName: "runc", NoPivotRoot: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("containerd.runc.v1.Options", good)
	f.Add("type.googleapis.com/containerd.runc.v1.Options", []byte{0xff})
	f.Add("x", []byte(nil))
	f.Fuzz(func(t *testing.T, url string, data []byte) {
		opts, err := RuncOptions(&anypb.Any{TypeUrl: url, Value: data})
		if err != nil && !errdefs.IsInvalidArgument(err) && !errdefs.IsDataLoss(err) {
			t.Fatalf("error without its class: %v", err)
		}
		if (err == nil) != (opts != nil) {
			t.Fatalf("%v, %v", opts, err)
		}
	})
}

func FuzzFeatures(f *testing.F) {
	f.Add([]byte(`{"linux":{"seccomp":{"enabled":false}}}`))
	f.Add([]byte("crun version 1\n+CAP"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if lacks, known := parseFeatures(data); lacks && !known {
			t.Fatalf("%q", data)
		}
		parseVersion(string(data))
	})
}
