package core

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/engine-lite/engine-lite/runtimed/internal/host"
	"github.com/engine-lite/engine-lite/runtimed/internal/ocispec"
)

// oneClass fails the test if an error about outside data does not have the class of these.
func oneClass(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errdefs.IsInvalidArgument(err) && !errdefs.IsDataLoss(err) {
		t.Fatalf("error without its class: %v", err)
	}
}

// An accepted spec has all parts that are used later, and its sandbox is a valid id.
func FuzzContainerSpec(f *testing.F) {
	f.Add([]byte(`{"process":{"args":["x"]},"root":{"path":"rootfs"}}`), true)
	f.Add([]byte(`{"process":{"args":["x"]},"root":{"path":"../x"},"linux":{"namespaces":[{"type":"pid"},{"type":"pid"}],"resources":{"memory":{"limit":7}}}}`), false)
	f.Add([]byte(`{"process":{"args":["x"]},"root":{"path":"/x"},"annotations":{"io.kubernetes.cri.container-type":"container","io.kubernetes.cri.sandbox-id":"../x"}}`), false)
	f.Add([]byte(`{"process":{"args":["x"],"rlimits":[{"type":"RLIMIT_NOFILE","hard":18446744073709551615}],"oomScoreAdj":-7},"root":{"path":"x"}}`), false)
	h, err := host.Detect(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte, mounted bool) {
		spec, err := ocispec.Parse(&anypb.Any{Value: data})
		oneClass(t, err)
		if err != nil {
			return
		}
		oneClass(t, ocispec.CheckRoot(spec, mounted))
		if err := h.RequireSpec(t.Context(), spec, ""); err != nil && !errdefs.IsFailedPrecondition(err) {
			t.Fatal(err)
		}
		is, sandbox, err := ocispec.SandboxRole("c", spec)
		oneClass(t, err)
		if err == nil && sandbox != "" && (is || ValidID("sandbox", sandbox) != nil || sandbox == "c") {
			t.Fatalf("sandbox %q", sandbox)
		}
		ocispec.SharesPidNamespace(spec)
	})
}

// A damaged file of a container is reported, and never becomes the process or record of
// another one.
func FuzzStateFiles(f *testing.F) {
	record, err := proto.Marshal(&containers.Container{ID: "c", Labels: map[string]string{"a": "b"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record, []byte(`{"stdin":"/x","asked":"2026-01-02T03:04:05Z"}`),
		[]byte(`{"pid":7,"start":8,"groups":{"v1":{"pids":"/x"}}}`))
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
		for name, data := range map[string][]byte{containerFile: record, "init/process.json": process,
			"init/start": start} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := d.loadContainer(t.Context(), "ns", "c") // without a task.json, so that nothing is started or killed
		oneClass(t, err)
		if err == nil {
			if r, err := c.read(); err != nil || r.ID != "c" {
				t.Fatalf("%q is the record of %q: %v", record, r.GetID(), err)
			}
		}
		p := newProcess(&containerTask{c: newContainer(d, "ns", "c", dir)}, "", processRecord{}, creating)
		_, err = p.loadRecords()
		oneClass(t, err)
		if err == nil && p.pid <= 0 {
			t.Fatalf("%q is process %d", start, p.pid)
		}
	})
}
