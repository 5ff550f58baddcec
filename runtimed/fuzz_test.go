package runtimed

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/engine-lite/engine-lite/keeper"
)

// oneClass fails the test if an error that came of outside data isn't told to be of that.
func oneClass(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errdefs.IsInvalidArgument(err) && !errdefs.IsDataLoss(err) {
		t.Fatalf("error without its class: %v", err)
	}
}

// A spec that is accepted has what is used of it later, and its sandbox is an id.
func FuzzContainerSpec(f *testing.F) {
	f.Add([]byte(`{"process":{"args":["x"]},"root":{"path":"rootfs"}}`), true)
	f.Add([]byte(`{"process":{"args":["x"]},"root":{"path":"../x"},"linux":{"namespaces":[{"type":"pid"},{"type":"pid"}],"resources":{"memory":{"limit":7}}}}`), false)
	f.Add([]byte(`{"process":{"args":["x"]},"root":{"path":"/x"},"annotations":{"io.kubernetes.cri.container-type":"container","io.kubernetes.cri.sandbox-id":"../x"}}`), false)
	f.Add([]byte(`{"process":{"args":["x"],"rlimits":[{"type":"RLIMIT_NOFILE","hard":18446744073709551615}],"oomScoreAdj":-7},"root":{"path":"x"}}`), false)
	h := host{controllers: func() ([]string, error) { return nil, nil }, features: newSeccompTable("")}
	f.Fuzz(func(t *testing.T, data []byte, mounted bool) {
		spec, err := parseSpec(&anypb.Any{Value: data})
		oneClass(t, err)
		if err != nil {
			return
		}
		oneClass(t, checkRoot(spec, mounted))
		if err := h.requireSpec(t.Context(), spec, ociRuntime{}); err != nil && !errdefs.IsFailedPrecondition(err) {
			t.Fatal(err)
		}
		is, sandbox, err := roleOf("c", spec)
		oneClass(t, err)
		if err == nil && sandbox != "" && (is || validID("sandbox", sandbox) != nil || sandbox == "c") {
			t.Fatalf("sandbox %q", sandbox)
		}
		hostPid(spec)
	})
}

// What amend doesn't change is afterwards what it was.
func FuzzAmend(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1.50,"c":null},"process":{"rlimits":[1],"x":"<"}}`), "process", "rlimits")
	f.Add([]byte(`{"process":[]}`), "process", "rlimits")
	f.Add([]byte(`null`), "linux", "namespaces")
	f.Add([]byte(``), "", "")
	f.Fuzz(func(t *testing.T, doc []byte, outer, inner string) {
		if !utf8.ValidString(outer) || !utf8.ValidString(inner) {
			return // no key of ours
		}
		got, err := amend(doc, []string{outer, inner}, "new")
		oneClass(t, err)
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
		if len(old)+len(changed) > 0 && !reflect.DeepEqual(old, changed) || len(before)+len(after) > 0 && !reflect.DeepEqual(before, after) {
			t.Fatalf("%q became %q", doc, got)
		}
	})
}

// A damaged file of a container is told of, and never becomes another's process or record.
func FuzzStateFiles(f *testing.F) {
	record, err := proto.Marshal(&containers.Container{ID: "c", Labels: map[string]string{"a": "b"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record, []byte(`{"stdin":"/x","asked":"2026-01-02T03:04:05Z"}`), []byte(`{"pid":7,"start":8,"groups":{"v1":{"pids":"/x"}}}`))
	f.Add([]byte("\n\x01d"), []byte(`{"terminal":7}`), []byte(`{"pid":-1}`))
	f.Add([]byte{0xff}, []byte(`null`), []byte(`{"pid":0}`))
	log := logrus.New()
	log.SetOutput(bytes.NewBuffer(nil))
	d := &Daemon{opts: Options{Root: f.TempDir()}, log: logrus.NewEntry(log)}
	dir := filepath.Join(d.opts.Root, "ns", "c")
	if err := os.MkdirAll(filepath.Join(dir, "init"), 0o700); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, record, process, start []byte) {
		for name, data := range map[string][]byte{containerFile: record, "init/process.json": process, "init/start": start} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := d.loadContainer(t.Context(), "ns", "c") // without a task.json, so that nothing is run or killed
		oneClass(t, err)
		if err == nil {
			if r, err := c.read(); err != nil || r.ID != "c" {
				t.Fatalf("%q is the record of %q: %v", record, r.GetID(), err)
			}
		}
		p := newProcess(&containerTask{c: newContainer("ns", "c", dir)}, "", processRecord{}, creating)
		_, err = p.loadRecords()
		oneClass(t, err)
		if err == nil && p.pid <= 0 {
			t.Fatalf("%q is process %d", start, p.pid)
		}
	})
}

// Options are runc's own or refused.
func FuzzOptions(f *testing.F) {
	good, err := proto.Marshal(&options.Options{BinaryName: "runc", NoPivotRoot: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("containerd.runc.v1.Options", good)
	f.Add("type.googleapis.com/containerd.runc.v1.Options", []byte{0xff})
	f.Add("x", []byte(nil))
	f.Fuzz(func(t *testing.T, url string, data []byte) {
		opts, err := runcOptions(&anypb.Any{TypeUrl: url, Value: data})
		oneClass(t, err)
		if (err == nil) != (opts != nil) {
			t.Fatalf("%v, %v", opts, err)
		}
	})
}

// Whatever the kernel shows as a group's path, only what is below the hierarchy's mount is read.
func FuzzCgroupPath(f *testing.F) {
	f.Add("/x/y")
	f.Add("/../../../etc")
	f.Add("/..")
	f.Add("")
	f.Add("a/../../..")
	f.Fuzz(func(t *testing.T, path string) {
		var g groups
		if err := g.fillV1(map[string]string{"memory": path, "nope": path}); err != nil {
			t.Fatal(err)
		}
		if g.OOMFile != "" && !strings.HasPrefix(g.OOMFile, cgroupMount+"/") {
			t.Fatalf("%q leads to %q", path, g.OOMFile)
		}
		for _, p := range g.V1 {
			if !filepath.IsAbs(p) || filepath.Clean(p) != p {
				t.Fatalf("%q leads to %q", path, p)
			}
		}
	})
}

func FuzzFeatures(f *testing.F) {
	f.Add([]byte(`{"linux":{"seccomp":{"enabled":false}}}`))
	f.Add([]byte("crun version 1\n+CAP"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if lacks, told := parseFeatures(data); lacks && !told {
			t.Fatalf("%q", data)
		}
		parseVersion(string(data))
	})
}

// A spec that shares a sandbox's namespaces names none of these twice more than before, and keeps what it names itself.
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
		open, err := share(spec, sandboxRef{Pid: pid, Start: self})
		if err != nil {
			t.Fatal(err)
		}
		defer open.close()
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
