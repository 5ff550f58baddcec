package runtimed_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/api/types/task"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// A restore that fails leaves the task unchanged: it can be tried again or deleted.
func TestRestoreFails(t *testing.T) {
	withCRIU(t)
	d := startDaemon(t, "runc")
	s := d.open("c", true)
	d.record("c", d.spec("c", counter))
	ctx, cancel := d.within()
	defer cancel()
	empty := filepath.Join(d.dir, "empty")
	check(t, os.Mkdir(empty, 0o700))
	r, err := d.createFrom(t, "c", empty, s)
	check(t, err)
	equal(t, "pid", r.Pid, 0)
	for range 2 {
		_, err = d.tasks.Start(ctx, &tasks.StartRequest{ContainerID: "c"})
		equal(t, "code of the start", status.Code(err), codes.Unknown)
		equal(t, "status", d.state("c").Status, task.Status_CREATED)
	}
	for name, call := range map[string]func() error{
		"kill": func() error {
			_, err := d.tasks.Kill(ctx, &tasks.KillRequest{ContainerID: "c", Signal: 9})
			return err
		},
		"pause": func() error { _, err := d.tasks.Pause(ctx, &tasks.PauseTaskRequest{ContainerID: "c"}); return err },
		"update": func() error {
			_, err := d.tasks.Update(ctx,
				&tasks.UpdateTaskRequest{ContainerID: "c", Resources: &anypb.Any{Value: []byte("{}")}})
			return err
		},
		"checkpoint": func() error {
			return d.checkpoint(t, "c", &options.CheckpointOptions{ImagePath: filepath.Join(d.dir, "images")})
		},
	} {
		equal(t, "code of "+name, status.Code(call()), codes.FailedPrecondition)
	}
	d.delete("c")
	check(t, d.create("c", s, false)) // now without the checkpoint
	d.start("c", "")
	d.typist(t, s).line(t, "1\n")
}

// A stdin that was closed before the start is closed for the restored process.
func TestRestoreWithStdinClosed(t *testing.T) {
	withCRIU(t)
	d := startDaemon(t, "runc")
	first, second := d.open("first", true), d.open("second", true)
	d.run("first", "read x; echo $x; while read x; do echo $x; done; exit 4", first)
	d.typist(t, first).line(t, "x\n")
	images := filepath.Join(d.dir, "images")
	check(t, d.checkpoint(t, "first", &options.CheckpointOptions{ImagePath: images, Exit: true}))
	d.record("second", d.spec("second", counter))
	_, err := d.createFrom(t, "second", images, second)
	check(t, err)
	ctx, cancel := d.within()
	defer cancel()
	_, err = d.tasks.CloseIO(ctx, &tasks.CloseIORequest{ContainerID: "second", Stdin: true})
	check(t, err)
	d.start("second", "")
	equal(t, "exit status", d.wait("second", ""), 4)
	equal(t, "output", second.end(), "")
}

// The next runtimed finishes what a killed one had begun: it keeps a complete checkpoint,
// removes a partial one, and undoes a restore.
func TestCheckpointCutShort(t *testing.T) {
	withCRIU(t)
	d := startDaemon(t, "runc")
	first, second := d.open("first", true), d.open("second", true)
	d.run("first", counter, first)
	d.typist(t, first).line(t, "1\n")
	images := filepath.Join(d.dir, "images")
	check(t, d.checkpoint(t, "first", &options.CheckpointOptions{ImagePath: images}))
	dir := filepath.Join(d.dir, "root", testNamespace)

	partial, work := filepath.Join(d.dir, ".next.1"), filepath.Join(dir, "first", "init", "criu")
	target := filepath.Join(d.dir, "next")
	begin := func() {
		check(t, os.Mkdir(partial, 0o700))
		check(t, os.Mkdir(work, 0o700))
		check(t, os.WriteFile(filepath.Join(dir, "first", "checkpoint.json"),
			[]byte(`{"target":"`+target+`","partial":"`+partial+`","work":"`+work+`"}`), 0o600))
	}
	begin()
	d.killRuntimed()
	for _, path := range []string{partial, target, work, filepath.Join(dir, "first", "checkpoint.json")} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s of a partial checkpoint is left: %v", path, err)
		}
	}
	begin()
	check(t, os.WriteFile(filepath.Join(work, "stats-dump"), nil, 0o600))
	d.killRuntimed()
	_, err := os.Stat(target)
	check(t, err)

	d.record("second", d.spec("second", counter))
	_, err = d.createFrom(t, "second", images, second)
	check(t, err)
	pid := d.start("second", "")
	d.signalRuntimed(syscall.SIGSTOP)
	// as if runtimed had been killed before it wrote the file
	check(t, os.Remove(filepath.Join(dir, "second", "init", "start")))
	check(t, os.Remove(filepath.Join(dir, "second", "init", "running")))
	d.killRuntimed()
	equal(t, "status", d.state("second").Status, task.Status_CREATED)
	d.await("the process is gone", func() bool { return syscall.Kill(int(pid), 0) != nil })
	d.start("second", "")
	d.typist(t, second).line(t, "2\n")
}

// A request that can't be done is refused before it changes anything.
func TestCheckpointRefused(t *testing.T) {
	withCRIU(t)
	d := startDaemon(t, "runc")
	d.run("c", "exec sleep 1000", nil)
	d.record("other", d.spec("other", "exit 0"))
	full := filepath.Join(d.dir, "root") // not empty
	damaged := filepath.Join(d.dir, "damaged")
	check(t, os.Mkdir(damaged, 0o700))
	check(t, os.WriteFile(filepath.Join(damaged, "engine-lite.json"), []byte(`{"streams":["","fd[1]","--exec"]}`),
		0o600))
	terminal := filepath.Join(d.dir, "terminal")
	check(t, os.Mkdir(terminal, 0o700))
	check(t, os.WriteFile(filepath.Join(terminal, "engine-lite.json"), []byte(`{"terminal":true}`), 0o600))
	ctx, cancel := d.within()
	defer cancel()
	checkpoint := func(opts *options.CheckpointOptions) func(context.Context) error {
		return func(context.Context) error { return d.checkpoint(t, "c", opts) }
	}
	restore := func(opts *options.Options) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := d.tasks.Create(ctx, &tasks.CreateTaskRequest{ContainerID: "other", Options: packOptions(t, opts)})
			return err
		}
	}
	for _, c := range []struct {
		name string
		call func(context.Context) error
		want codes.Code
	}{
		{"into a content store", checkpoint(&options.CheckpointOptions{}), codes.Unimplemented},
		{"no options", func(ctx context.Context) error {
			_, err := d.tasks.Checkpoint(ctx, &tasks.CheckpointTaskRequest{ContainerID: "c"})
			return err
		}, codes.Unimplemented},
		{"with a parent in a content store", func(ctx context.Context) error {
			_, err := d.tasks.Checkpoint(ctx,
				&tasks.CheckpointTaskRequest{ContainerID: "c", ParentCheckpoint: "sha256:x"})
			return err
		}, codes.Unimplemented},
		{"with a parent", checkpoint(&options.CheckpointOptions{ImagePath: "/tmp/x", ParentPath: "/tmp/y"}),
			codes.Unimplemented},
		{"relative", checkpoint(&options.CheckpointOptions{ImagePath: "x"}), codes.InvalidArgument},
		{"not clean", checkpoint(&options.CheckpointOptions{ImagePath: "/tmp/../x"}), codes.InvalidArgument},
		{"relative work", checkpoint(&options.CheckpointOptions{ImagePath: filepath.Join(d.dir, "x"), WorkPath: "x"}),
			codes.InvalidArgument},
		{"into a file", checkpoint(&options.CheckpointOptions{ImagePath: d.address}), codes.InvalidArgument},
		{"onto something", checkpoint(&options.CheckpointOptions{ImagePath: full}), codes.AlreadyExists},
		{"into nowhere", checkpoint(&options.CheckpointOptions{ImagePath: filepath.Join(d.dir, "no/where")}),
			codes.NotFound},
		{"from a content store", func(ctx context.Context) error {
			_, err := d.tasks.Create(ctx,
				&tasks.CreateTaskRequest{ContainerID: "other", Checkpoint: &types.Descriptor{}})
			return err
		}, codes.Unimplemented},
		{"from nowhere", restore(&options.Options{CriuImagePath: filepath.Join(d.dir, "x")}), codes.NotFound},
		{"from a file", restore(&options.Options{CriuImagePath: filepath.Join(d.dir, "log")}), codes.InvalidArgument},
		{"from a relative path", restore(&options.Options{CriuImagePath: "x"}), codes.InvalidArgument},
		{"with a relative work path", restore(&options.Options{CriuImagePath: damaged, CriuWorkPath: "x"}),
			codes.InvalidArgument},
		{"from a damaged one", restore(&options.Options{CriuImagePath: damaged}), codes.DataLoss},
		{"from one on a terminal", restore(&options.Options{CriuImagePath: terminal}), codes.InvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			equal(t, "code", status.Code(c.call(ctx)), c.want)
		})
	}
}

// Without CRIU, checkpoint and restore are refused, and everything else works.
func TestWithoutCRIU(t *testing.T) {
	bin := t.TempDir()
	check(t, os.Symlink("/usr/sbin/runc", filepath.Join(bin, "runc")))
	check(t, prepared()) // the tests need more than runc
	t.Setenv("PATH", bin)
	d := startDaemon(t, "runc")
	s := d.open("c", true)
	d.run("c", counter, s)
	images := filepath.Join(d.dir, "images")
	equal(t, "checkpoint", status.Code(d.checkpoint(t, "c", &options.CheckpointOptions{ImagePath: images})),
		codes.Unimplemented)
	left, err := filepath.Glob(filepath.Join(d.dir, "*images*"))
	check(t, err)
	equal(t, "files", len(left), 0)
	check(t, os.Mkdir(images, 0o700))
	other := d.open("other", true)
	d.record("other", d.spec("other", counter))
	_, err = d.createFrom(t, "other", images, other)
	equal(t, "restore", status.Code(err), codes.Unimplemented)
	d.typist(t, s).line(t, "1\n")
}

// Debian's crun is built without CRIU. The error says so.
func TestCrunWithoutCRIU(t *testing.T) {
	withCRIU(t)
	d := startDaemon(t, "runc")
	crun := &options.Options{BinaryName: "crun", CriuImagePath: d.dir}
	d.labelled(t, "c", d.spec("c", "exit 0"), nil, crun)
	err := d.create("c", nil, false)
	equal(t, "code", status.Code(err), codes.Unimplemented)
	if !strings.Contains(err.Error(), "crun was built without CRIU") {
		t.Errorf("the reason is missing: %v", err)
	}
}
