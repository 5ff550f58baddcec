package runtimed_test

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/fifo"
)

// All output of a process to its terminal is in the FIFO when its exit is known.
func TestTerminalOutputIsComplete(t *testing.T) {
	d := startDaemon(t, "runc")
	spec := d.spec("c", "dd if=/dev/zero bs=1000 count=500 2>/tmp/x; echo end")
	spec.Process.Terminal = true
	spec.Mounts = append(spec.Mounts,
		specs.Mount{Destination: "/dev/zero", Type: "bind", Source: "/dev/zero", Options: []string{"bind"}})
	d.record("c", spec)
	for range 5 {
		s := d.open("c", false)
		check(t, d.create("c", s, true))
		d.start("c", "")
		equal(t, "exit status", d.wait("c", ""), 0)
		equal(t, "bytes", len(s.end()), 500_000+len("end\r\n"))
		d.delete("c")
		check(t, s.set.Remove())
	}
}

// A process ends while nobody reads its terminal, and the FIFO is full. All its output is there for a reader that comes
// later, also if runtimed was killed before.
func TestTerminalOutputWaitsForItsReader(t *testing.T) {
	d := startDaemon(t, "runc")
	const lines = 300
	spec := d.spec("c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); done; exit 5", lines))
	spec.Process.Terminal = true
	d.record("c", spec)
	set, err := fifo.Create(filepath.Join(d.dir, "c"), fifo.Config{Stdout: true})
	check(t, err)
	out, err := set.OpenStdout(t.Context())
	check(t, err)
	defer out.Close()
	raw, err := out.SyscallConn()
	check(t, err)
	check(t, raw.Control(func(fd uintptr) { _, err = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 4096) }))
	check(t, err)
	check(t, d.create("c", &streams{set: set}, true))
	d.start("c", "")
	equal(t, "exit status", d.wait("c", ""), 5)
	d.killRuntimed()
	out.ExitKnown()
	text, err := io.ReadAll(out)
	check(t, err)
	var want strings.Builder
	for i := range lines {
		fmt.Fprintf(&want, "line %d\r\n", i)
	}
	equal(t, "output", string(text), want.String())
}
