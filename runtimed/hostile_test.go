package runtimed_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/api/services/namespaces/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
)

// badIDs are invalid ids.
var badIDs = map[string]string{
	"empty": "", "up": "../x", "dots": "..", "dot": ".", "slash": "a/b", "absolute": "/etc",
	"long":         strings.Repeat("x", 4096),
	"one too long": strings.Repeat("x", 77), "unicode": "ü", "lookalike": "ｃ", "nul": "a\x00b", "newline": "a\n",
	"blank": "a b", "hidden": ".oci", "option": "--root",
}

// Each id is checked before it becomes a path, in every call.
func TestBadIDs(t *testing.T) {
	d := startDaemon(t, "runc")
	d.run("c", "exec sleep 1000", nil)
	before := d.traces()
	ctx, cancel := d.within()
	defer cancel()
	process := pack(t, specs.Process{Args: []string{"x"}, Cwd: "/"})
	calls := map[string]func(id string) error{
		"record": func(id string) error {
			_, err := d.containers.Create(ctx,
				&containers.CreateContainerRequest{Container: &containers.Container{ID: id}})
			return err
		},
		"get record": func(id string) error {
			_, err := d.containers.Get(ctx, &containers.GetContainerRequest{ID: id})
			return err
		},
		"delete record": func(id string) error {
			_, err := d.containers.Delete(ctx, &containers.DeleteContainerRequest{ID: id})
			return err
		},
		"create": func(id string) error {
			_, err := d.tasks.Create(ctx, &tasks.CreateTaskRequest{ContainerID: id})
			return err
		},
		"delete": func(id string) error {
			_, err := d.tasks.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
			return err
		},
		"kill": func(id string) error {
			_, err := d.tasks.Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: 9})
			return err
		},
		"exec": func(id string) error {
			_, err := d.tasks.Exec(ctx, &tasks.ExecProcessRequest{ContainerID: "c", ExecID: id, Spec: process})
			return err
		},
		"delete exec": func(id string) error {
			_, err := d.tasks.DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: "c", ExecID: id})
			return err
		},
		"namespace": func(id string) error {
			_, err := namespaces.NewNamespacesClient(d.conn).Create(ctx,
				&namespaces.CreateNamespaceRequest{Namespace: &namespaces.Namespace{Name: id}})
			return err
		},
	}
	for name, call := range calls {
		for kind, id := range badIDs {
			if code := status.Code(call(id)); code != codes.InvalidArgument {
				t.Errorf("%s with an id that is bad by %q: %v", name, kind, code)
			}
		}
	}
	for kind, ns := range badIDs {
		if kind == "unicode" || kind == "lookalike" || kind == "nul" || kind == "newline" {
			continue // not possible in a header
		}
		_, err := d.tasks.List(metadata.AppendToOutgoingContext(context.Background(), "containerd-namespace", ns),
			&tasks.ListTasksRequest{})
		equal(t, "code for a namespace that is bad by "+kind, status.Code(err), codes.InvalidArgument)
	}
	_, err := d.tasks.List(metadata.AppendToOutgoingContext(d.ctx(), "containerd-namespace", "other"),
		&tasks.ListTasksRequest{})
	equal(t, "code for two namespaces", status.Code(err), codes.InvalidArgument)
	equal(t, "what is there", d.traces(), before)
}

// A wrong spec is refused with the reason, and nothing is made.
func TestHostileSpecs(t *testing.T) {
	d := startDaemon(t, "runc")
	ctx, cancel := d.within()
	defer cancel()
	before := d.traces()
	good := func(change func(*specs.Spec)) []byte {
		spec := d.spec("c", "exit 0")
		change(spec)
		return pack(t, spec).Value
	}
	bundle := []*types.Mount{{Type: "bind", Source: rootfs, Options: []string{"rbind", "ro"}}}
	elsewhere := filepath.Join(d.dir, "elsewhere")
	check(t, os.Symlink("/etc", elsewhere))
	for _, c := range []struct {
		name   string
		spec   []byte
		rootfs []*types.Mount
		want   codes.Code
	}{
		{"nothing", nil, nil, codes.InvalidArgument},
		{"null", []byte("null"), nil, codes.InvalidArgument},
		{"number", []byte("7"), nil, codes.InvalidArgument},
		{"list", []byte("[]"), nil, codes.InvalidArgument},
		{"two documents", append(good(func(*specs.Spec) {}), "{}"...), nil, codes.InvalidArgument},
		{"cut off", good(func(*specs.Spec) {})[:100], nil, codes.InvalidArgument},
		{"deep", []byte(strings.Repeat(`{"linux":`, 20000)), nil, codes.InvalidArgument},
		{"another type's", pack(t, specs.Process{Args: []string{"x"}}).Value, nil, codes.InvalidArgument},
		{"args that are no list", []byte(`{"process":{"args":"x"},"root":{"path":"rootfs"}}`), nil,
			codes.InvalidArgument},
		{"no process", good(func(s *specs.Spec) { s.Process = nil }), nil, codes.InvalidArgument},
		{"no args", good(func(s *specs.Spec) { s.Process.Args = nil }), nil, codes.InvalidArgument},
		{"no root", good(func(s *specs.Spec) { s.Root = nil }), nil, codes.InvalidArgument},
		{"empty root", good(func(s *specs.Spec) { s.Root.Path = "" }), nil, codes.InvalidArgument},
		{"root outside of the bundle", good(func(s *specs.Spec) { s.Root.Path = "../../x" }), nil,
			codes.InvalidArgument},
		{"root beside the mounts", good(func(s *specs.Spec) { s.Root.Path = "other" }), bundle, codes.InvalidArgument},
		{"root that is a link to no root filesystem", good(func(s *specs.Spec) { s.Root.Path = elsewhere }), nil,
			codes.Unknown},
		{"root that isn't there", good(func(s *specs.Spec) { s.Root.Path = "/nope" }), nil, codes.Unknown},
		{"mount below nothing", good(func(s *specs.Spec) { s.Root.Path = "rootfs" }),
			[]*types.Mount{{Type: "bind", Source: rootfs, Target: "../../../x"}}, codes.Unknown},
		{"mount of an unknown type", good(func(s *specs.Spec) { s.Root.Path = "rootfs" }),
			[]*types.Mount{{Type: "nofs", Source: "x"}}, codes.Unknown},
		{"second mount fails", good(func(s *specs.Spec) { s.Root.Path = "rootfs" }),
			append([]*types.Mount{{Type: "tmpfs", Source: "tmpfs"}}, &types.Mount{Type: "nofs"}), codes.Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := d.containers.Create(ctx,
				&containers.CreateContainerRequest{Container: &containers.Container{ID: "c",
					Spec: &anypb.Any{TypeUrl: "x", Value: c.spec}}})
			check(t, err)
			_, err = d.tasks.Create(ctx, &tasks.CreateTaskRequest{ContainerID: "c", Rootfs: c.rootfs})
			if code := status.Code(err); code != c.want {
				t.Errorf("code %v: %v", code, err)
			}
			_, err = d.containers.Delete(ctx, &containers.DeleteContainerRequest{ID: "c"})
			check(t, err)
			equal(t, "what is there", d.traces(), before)
		})
	}
}

// A spec of 8 MiB runs, and so does one with unknown members, which stay unchanged.
func TestLargeSpec(t *testing.T) {
	d := startDaemon(t, "runc")
	spec := d.spec("large", "exit 4")
	spec.Annotations = map[string]string{"large": strings.Repeat("x", 5<<20)} // gRPC takes 4 MiB by default
	d.record("large", spec)
	check(t, d.create("large", nil, false))
	d.killRuntimed() // which asks the OCI runtime for the state, with all annotations
	d.start("large", "")
	equal(t, "exit status", d.wait("large", ""), 4)
	d.delete("large")
	_, err := d.containers.Create(d.ctx(), &containers.CreateContainerRequest{Container: &containers.Container{ID: "c",
		Spec: &anypb.Any{Value: make([]byte, 17<<20)}}})
	equal(t, "code for a message that is too large", status.Code(err), codes.ResourceExhausted)

	score := -500 // this makes runtimed change the bundle's spec
	spec = d.spec("unknown", "exit 5")
	spec.Process.OOMScoreAdj = &score
	data := pack(t, spec)
	data.Value = append(data.Value[:len(data.Value)-1], `,"later":{"x":[1,2.50,"<&>"]}}`...)
	record := &containers.Container{ID: "unknown", Spec: data}
	record.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 2000, protowire.BytesType),
		"later"))
	ctx, cancel := d.within()
	defer cancel()
	_, err = d.containers.Create(ctx, &containers.CreateContainerRequest{Container: record})
	check(t, err)
	r := &tasks.CreateTaskRequest{ContainerID: "unknown"}
	r.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 2000, protowire.VarintType), 7))
	_, err = d.tasks.Create(ctx, r)
	check(t, err)
	config, err := os.ReadFile(filepath.Join(d.dir, "root", testNamespace, "unknown", "bundle", "config.json"))
	check(t, err)
	equal(t, "the unknown member is in the bundle", strings.Contains(string(config), `"later":{"x":[1,2.50,`), true)
	d.start("unknown", "")
	equal(t, "exit status", d.wait("unknown", ""), 5)
	d.killRuntimed()
	got, err := d.containers.Get(ctx, &containers.GetContainerRequest{ID: "unknown"})
	check(t, err)
	equal(t, "the record's unknown field is there after a restart", len(got.Container.ProtoReflect().GetUnknown()) > 0,
		true)
}

// A stream must be a FIFO at an absolute path, also with a terminal. Other files are not
// kept open and not changed.
func TestHostileStreams(t *testing.T) {
	d := startDaemon(t, "runc")
	s := d.open("s", true)
	good := s.set.Paths().Stdout
	file, link, dir, socket := filepath.Join(d.dir, "file"), filepath.Join(d.dir, "link"),
		filepath.Join(d.dir, "directory"), d.address
	check(t, os.WriteFile(file, []byte("untouched"), 0o600))
	check(t, os.Symlink(good, link))
	check(t, os.Mkdir(dir, 0o700))
	t.Chdir(filepath.Dir(good))
	d.run("other", "exec sleep 1000", nil)
	d.record("c", d.spec("c", "exit 0"))
	onTerminal := d.spec("tty", "exit 0")
	onTerminal.Process.Terminal = true
	d.record("tty", onTerminal)
	before := d.traces()
	ctx, cancel := d.within()
	defer cancel()
	for name, c := range map[string]struct {
		path string
		want codes.Code
	}{
		"regular file": {file, codes.InvalidArgument}, "link to a FIFO": {link, codes.InvalidArgument},
		"directory": {dir, codes.InvalidArgument},
		"socket":    {socket, codes.InvalidArgument}, "device": {"/dev/zero", codes.InvalidArgument},
		"nothing":   {filepath.Join(d.dir, "nothing"), codes.NotFound},
		"relative":  {filepath.Base(good), codes.InvalidArgument},
		"not clean": {d.dir + "/directory/../s/" + filepath.Base(good), codes.InvalidArgument},
		"root":      {"/", codes.InvalidArgument}, "uri": {"binary:///bin/sh", codes.InvalidArgument},
		"long":          {"/" + strings.Repeat("x", 5000), codes.InvalidArgument},
		"process's own": {"/proc/self/fd/1", codes.InvalidArgument},
	} {
		for _, stream := range []string{"stdin", "stdout", "stderr"} {
			for _, id := range []string{"c", "tty"} {
				r := &tasks.CreateTaskRequest{ContainerID: id, Terminal: id == "tty"}
				switch stream {
				case "stdin":
					r.Stdin = c.path
				case "stdout":
					r.Stdout = c.path
				default:
					if id == "tty" {
						continue // a terminal has no stderr
					}
					r.Stderr = c.path
				}
				_, err := d.tasks.Create(ctx, r)
				if code := status.Code(err); code != c.want {
					t.Errorf("%s of %s is a %s: %v", stream, id, name, err)
				}
			}
		}
	}
	equal(t, "what is there", d.traces(), before)
	text, err := os.ReadFile(file)
	check(t, err)
	equal(t, "the file", string(text), "untouched")
	d.swapStreams(good)
	d.run("well", "echo well", s)
	equal(t, "exit status with FIFOs", d.wait("well", ""), 0)
	equal(t, "output", s.end(), "well\n")
}

// swapStreams adds an exec whose stdout becomes a file before the start.
func (d *daemon) swapStreams(good string) {
	d.t.Helper()
	swapped := filepath.Join(d.dir, "swapped")
	check(d.t, syscall.Mkfifo(swapped, 0o600))
	ctx, cancel := d.within()
	defer cancel()
	spec := pack(d.t, specs.Process{Args: []string{"/bin/echo", "lost"}, Cwd: "/"})
	_, err := d.tasks.Exec(ctx,
		&tasks.ExecProcessRequest{ContainerID: "other", ExecID: "e", Spec: spec, Stdout: swapped})
	check(d.t, err)
	check(d.t, os.Remove(swapped))
	check(d.t, os.WriteFile(swapped, nil, 0o600))
	_, err = d.tasks.Start(ctx, &tasks.StartRequest{ContainerID: "other", ExecID: "e"})
	equal(d.t, "code for a FIFO that became a file", status.Code(err), codes.InvalidArgument)
	check(d.t, os.Remove(swapped))
	check(d.t, os.Symlink(good, swapped))
	_, err = d.tasks.Start(ctx, &tasks.StartRequest{ContainerID: "other", ExecID: "e"})
	equal(d.t, "code for a FIFO that became a link", status.Code(err), codes.InvalidArgument)
	_, err = d.tasks.DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: "other", ExecID: "e"})
	check(d.t, err)
}

// A link in place of a container's directory is not followed, neither by a new container
// nor by a new runtimed.
func TestDirectoryIsALink(t *testing.T) {
	d := startDaemon(t, "runc")
	d.record("first", d.spec("first", "exit 0")) // so that the namespace exists
	elsewhere := filepath.Join(d.dir, "elsewhere")
	check(t, os.Mkdir(elsewhere, 0o700))
	check(t, os.WriteFile(filepath.Join(elsewhere, "container.pb"), []byte("untouched"), 0o600))
	for _, id := range []string{"c", "loaded"} {
		check(t, os.Symlink(elsewhere, filepath.Join(d.dir, "root", testNamespace, id)))
	}
	d.runSpec("c", d.spec("c", "exit 3"))
	equal(t, "exit status", d.wait("c", ""), 3)
	d.killRuntimed()
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.containers.Get(ctx, &containers.GetContainerRequest{ID: "loaded"})
	equal(t, "code for a linked container", status.Code(err), codes.NotFound)
	d.destroy(ctx, "c")
	text, err := os.ReadFile(filepath.Join(elsewhere, "container.pb"))
	check(t, err)
	equal(t, "what the link leads to", string(text), "untouched")
}

// Invalid signals are refused without a call of the OCI runtime. Signal 0 only asks
// whether the process exists.
func TestSignals(t *testing.T) {
	d := startDaemon(t, "runc")
	d.run("c", "exec sleep 1000", nil)
	ctx, cancel := d.within()
	defer cancel()
	for _, all := range []bool{false, true} {
		for signal, want := range map[uint32]codes.Code{0: codes.OK, 28: codes.OK, 65: codes.InvalidArgument,
			4000: codes.InvalidArgument, 1 << 31: codes.InvalidArgument, 1<<32 - 1: codes.InvalidArgument} {
			_, err := d.tasks.Kill(ctx, &tasks.KillRequest{ContainerID: "c", Signal: signal, All: all})
			if code := status.Code(err); code != want {
				t.Errorf("signal %d, all: %v: %v", signal, all, err)
			}
		}
	}
	// an exec has the default actions of signals, an init process does not
	d.addExec("c", "e", "exec sleep 1000", nil, false)
	d.start("c", "e")
	_, err := d.tasks.Kill(ctx, &tasks.KillRequest{ContainerID: "c", ExecID: "e", Signal: 64})
	check(t, err)
	equal(t, "exit status by the last signal", d.wait("c", "e"), 128+64)
}

// An exec needs a valid process. A wrong one does not change its container.
func TestHostileExecs(t *testing.T) {
	d := startDaemon(t, "runc")
	d.run("c", "exec sleep 1000", nil)
	before := d.traces()
	ctx, cancel := d.within()
	defer cancel()
	for name, spec := range map[string]*anypb.Any{
		"none": nil, "empty": {}, "null": {Value: []byte("null")}, "garbage": {Value: []byte("{]")},
		"no args":                    pack(t, specs.Process{Cwd: "/"}),
		"a container's spec":         pack(t, d.spec("x", "exit 0")),
		"terminal in one place only": pack(t, specs.Process{Args: []string{"x"}, Terminal: true}),
	} {
		_, err := d.tasks.Exec(ctx, &tasks.ExecProcessRequest{ContainerID: "c", ExecID: "e", Spec: spec})
		equal(t, "code for "+name, status.Code(err), codes.InvalidArgument)
	}
	_, err := d.tasks.Exec(ctx, &tasks.ExecProcessRequest{ContainerID: "c", ExecID: "e",
		Spec: pack(t, specs.Process{Args: []string{"x"}, Cwd: "/"}), Stdout: "relative"})
	equal(t, "code for a relative stream", status.Code(err), codes.InvalidArgument)
	equal(t, "what is there", d.traces(), before)
	d.addExec("c", "e", "exit 6", nil, false)
	d.start("c", "e")
	equal(t, "exit status of a good one", d.wait("c", "e"), 6)
}
