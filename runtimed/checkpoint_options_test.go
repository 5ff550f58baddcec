package runtimed_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/types/runc/options"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// holder builds a program with files that a checkpoint needs options for. It returns a
// directory with only that program.
func holder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "./testdata/holder")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// oldCRIU is the text of the failure of CRIU 4.1 on Linux 6.16 and later, with or without
// connections: that kernel refuses SO_PASSSEC on some sockets.
const oldCRIU = "Can't get 1:34 opt: Operation not supported"

// A container's resources outside of it are in a checkpoint only if the options say so,
// and work after it: the lock of a file, a socket that is connected to another process's,
// a connection.
func TestCheckpointTakesAlong(t *testing.T) {
	withCRIU(t)
	programs, shared := holder(t), t.TempDir()
	outside, err := net.ListenUnixgram("unixgram",
		&net.UnixAddr{Net: "unixgram", Name: filepath.Join(shared, "socket")})
	check(t, err)
	defer outside.Close()
	for what, c := range map[string]struct {
		path        string
		option      func(o *options.CheckpointOptions)
		says        string // in CRIU's message without the option
		hostNetwork bool   // so that CRIU sees the other end of the socket
	}{
		"lock": {path: "/tmp/lock", option: func(o *options.CheckpointOptions) { o.FileLocks = true }, says: "lock"},
		"socket": {path: filepath.Join(shared, "socket"),
			option: func(o *options.CheckpointOptions) { o.ExternalUnixSockets = true }, says: "unix",
			hostNetwork: true},
		"tcp": {path: "-", option: func(o *options.CheckpointOptions) { o.OpenTcp = true }, says: "TCP"},
	} {
		t.Run(what, func(t *testing.T) {
			d := startDaemon(t, "runc")
			images := filepath.Join(d.dir, "images")
			spec := func(id string) *specs.Spec {
				s := d.spec(id, "")
				if c.hostNetwork {
					s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces,
						func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
				}
				s.Process.Args = []string{"/tmp/holder/holder", what, c.path}
				for source, target := range map[string]string{programs: "/tmp/holder", shared: shared} {
					s.Mounts = append(s.Mounts,
						specs.Mount{Destination: target, Type: "bind", Source: source, Options: []string{"rbind"}})
				}
				return s
			}
			use := func(id string, s *streams, want string) {
				d.typist(t, s).line(t, want)
				if c.hostNetwork {
					var b [20]byte
					n, err := outside.Read(b[:])
					check(t, err)
					equal(t, "what came out of "+id, string(b[:n]), "datagram")
				}
			}
			first, second := d.open("first", true), d.open("second", true)
			d.record("first", spec("first"))
			check(t, d.create("first", first, false))
			d.start("first", "")
			use("first", first, "held x\n")
			err := d.checkpoint(t, "first", &options.CheckpointOptions{ImagePath: images, Exit: true})
			equal(t, "code without the option", status.Code(err), codes.Unknown)
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("CRIU's words say nothing of it: %v", err)
			}
			opts := &options.CheckpointOptions{ImagePath: images, Exit: true}
			c.option(opts)
			err = d.checkpoint(t, "first", opts)
			if err != nil && what == "tcp" && strings.Contains(err.Error(), oldCRIU) {
				use("first", first, "held x\nheld x\n")
				return // CRIU got the option, and fails later because of the kernel
			}
			check(t, err)
			d.delete("first")

			d.record("second", spec("second"))
			_, err = d.createFrom(t, "second", images, second)
			check(t, err)
			d.start("second", "")
			use("second", second, "held x\n")
			d.kill("second", 9)
			equal(t, "exit status", d.wait("second", ""), 137)
		})
	}
}
