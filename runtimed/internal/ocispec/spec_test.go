package ocispec

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/keeper"
)

func FuzzSpec(f *testing.F) {
	f.Add([]byte(`{"process":{"args":["x"]},"root":{"path":"rootfs"}}`), false)
	f.Fuzz(func(t *testing.T, data []byte, terminal bool) {
		if p, err := ParseProcess(data, terminal); (err == nil) != (p != nil) {
			t.Fatalf("%v, %v", p, err)
		}
	})
}

// All that amend does not change stays the same.
func FuzzAmend(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1.50,"c":null},"process":{"rlimits":[1],"x":"<"}}`), "process", "rlimits")
	f.Add([]byte(`{"process":[]}`), "process", "rlimits")
	f.Add([]byte(`null`), "linux", "namespaces")
	f.Add([]byte(``), "", "")
	f.Fuzz(func(t *testing.T, doc []byte, outer, inner string) {
		if !utf8.ValidString(outer) || !utf8.ValidString(inner) {
			return // not a key of this project
		}
		got, err := Amend(doc, []string{outer, inner}, "new")
		if err != nil && !errdefs.IsInvalidArgument(err) && !errdefs.IsDataLoss(err) {
			t.Fatalf("error without its class: %v", err)
		}
		if err != nil {
			return
		}
		var before, after map[string]any
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%q became %q: %v", doc, got, err)
		}
		if len(doc) > 0 {
			if err := json.Unmarshal(doc, &before); err != nil {
				t.Fatal(err)
			}
		}
		changed, ok := after[outer].(map[string]any)
		if !ok || changed[inner] != "new" {
			t.Fatalf("%q became %q", doc, got)
		}
		old, _ := before[outer].(map[string]any)
		delete(old, inner)
		delete(changed, inner)
		delete(before, outer)
		delete(after, outer)
		if len(old)+len(changed) > 0 && !reflect.DeepEqual(old, changed) || len(before)+len(after) > 0 &&
			!reflect.DeepEqual(before, after) {
			t.Fatalf("%q became %q", doc, got)
		}
	})
}

// A spec that shares a sandbox's namespaces keeps its own, and names none twice.
func FuzzShare(f *testing.F) {
	f.Add([]byte(`[{"type":"network"},{"type":"pid"}]`))
	f.Add([]byte(`[{"type":"network","path":"/x"},{"type":"network"}]`))
	f.Add([]byte(`null`))
	pid := os.Getpid()
	f.Fuzz(func(t *testing.T, data []byte) {
		var list []specs.LinuxNamespace
		if json.Unmarshal(data, &list) != nil {
			return
		}
		self, err := keeper.StartTime(pid)
		if err != nil {
			t.Fatal(err)
		}
		spec := &specs.Spec{Linux: &specs.Linux{Namespaces: list}}
		open, err := Share(spec, SandboxRef{Pid: pid, Start: self})
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		if len(spec.Linux.Namespaces) > len(list)+len(open) {
			t.Fatalf("%+v became %+v", list, spec.Linux.Namespaces)
		}
		for i, n := range list {
			if now := spec.Linux.Namespaces[i]; now.Type != n.Type || n.Path != "" && now.Path != n.Path {
				t.Fatalf("%+v became %+v", list, spec.Linux.Namespaces)
			}
		}
	})
}
