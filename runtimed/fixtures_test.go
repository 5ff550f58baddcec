package runtimed_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/services/containers/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"

	"github.com/engine-lite/engine-lite/keeper"
)

// plant puts the recorded files of format 1 below the daemon's root, and the recorded
// exits into the keeper's ledger, for this boot.
func (d *daemon) plant() {
	d.t.Helper()
	boot, err := keeper.Boot()
	check(d.t, err)
	root := filepath.Join(d.dir, "root")
	const recorded = "testdata/v1/root"
	check(d.t, filepath.WalkDir(recorded, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(root, strings.TrimPrefix(path, recorded))
		if entry.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("ROOT"), []byte(root)), []byte("BOOT"), []byte(boot))
		return os.WriteFile(target, data, 0o600)
	}))
	ledger, err := os.ReadFile("../keeper/testdata/v1/ledger")
	check(d.t, err)
	const head = 40
	check(d.t, os.WriteFile(filepath.Join(d.dir, "keeper", "ledger"), ledger[head:], 0o600))
}

// Today's runtimed takes over what one of the first release left. The files below
// testdata/v1 must not change.
func TestRootV1(t *testing.T) {
	d := startDaemon(t, "runc")
	d.killKeeper()
	d.plant()
	d.startKeeper()
	ctx, cancel := d.within()
	defer cancel()
	ns, err := namespacesapi.NewNamespacesClient(d.conn).Get(ctx,
		&namespacesapi.GetNamespaceRequest{Name: testNamespace})
	check(t, err)
	equal(t, "the namespace's label", ns.Namespace.Labels["for"], "fixture")
	list, err := d.containers.List(ctx, &containers.ListContainersRequest{})
	check(t, err)
	var ids []string
	for _, c := range list.Containers {
		ids = append(ids, c.ID)
		equal(t, "label of "+c.ID, c.Labels["for"], "fixture")
		if !bytes.Contains(c.Spec.GetValue(), []byte(`"hostname":"`+c.ID+`"`)) {
			t.Errorf("spec of %s: %s", c.ID, c.Spec.GetValue())
		}
	}
	slices.Sort(ids)
	equal(t, "containers", strings.Join(ids, " "), "ended idle killed lost made terminal unknown")
	for _, c := range []struct {
		id, exec   string
		want       uint32
		oom, cause string
	}{
		{"ended", "", 5, "false", ""},
		{"killed", "", 137, "true", ""},
		{"unknown", "", 0xFFFFFFFF, "false", "the process ended while no keeper was its parent"},
		{"terminal", "", 130, "false", ""},
		{"made", "", 9, "false", ""},
		{"lost", "e", 9, "", ""},
		{"lost", "", 7, "false", ""}, // from the ledger
	} {
		equal(t, "exit status of "+c.id+c.exec, d.wait(c.id, c.exec), c.want)
		if c.exec == "" && c.id != "lost" {
			said := d.trailers(c.id)
			equal(t, "out of memory, "+c.id, said("engine-lite-oom-killed"), c.oom)
			equal(t, "why unknown, "+c.id, said("engine-lite-exit-unknown"), c.cause)
		}
	}
	added, err := d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: "lost", ExecID: "added"})
	check(t, err)
	equal(t, "status of an exec", added.Process.Status, task.Status_CREATED)
}

// Files of a newer runtimed are not changed, and the log says why.
func TestNewerRootIsRefused(t *testing.T) {
	check(t, prepared())
	dir := t.TempDir()
	record := filepath.Join(dir, "root", "root.json")
	check(t, os.Mkdir(filepath.Dir(record), 0o700))
	const newer = `{"format":2,"boot":"","more":[]}`
	check(t, os.WriteFile(record, []byte(newer), 0o600))
	d := &daemon{t: t, dir: dir, address: filepath.Join(dir, "s")}
	argv := d.argv("runc")
	out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("has format 2, and this runtimed reads formats up to 1")) {
		t.Errorf("%v\n%s", err, out)
	}
	left, err := os.ReadFile(record)
	check(t, err)
	equal(t, "the record", string(left), newer)
}
