package runtimed_test

import (
	"errors"
	"fmt"
	"io"
	"os"
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
// later, also if runtimed is killed before or after the exit is known. The exit does not wait for the reader.
func TestTerminalOutputWaitsForItsReader(t *testing.T) {
	d := startDaemon(t, "runc")
	for _, id := range []string{"before", "after"} {
		t.Run(id, func(t *testing.T) {
			const lines = 300
			spec := d.spec(id, fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); done; exit 5", lines))
			spec.Process.Terminal = true
			d.record(id, spec)
			set, err := fifo.Create(filepath.Join(d.dir, id), fifo.Config{Stdout: true})
			check(t, err)
			out, err := set.OpenStdout(t.Context())
			check(t, err)
			defer out.Close()
			check(t, d.create(id, &streams{set: set}, true))
			var want strings.Builder
			fill(t, out, &want)
			d.start(id, "")
			if id == "before" {
				d.killRuntimed()
			}
			equal(t, "exit status", d.wait(id, ""), 5)
			if id == "after" {
				d.killRuntimed()
			}
			out.ExitKnown()
			text, err := io.ReadAll(out)
			check(t, err)
			for i := range lines {
				fmt.Fprintf(&want, "line %d\r\n", i)
			}
			if string(text) != want.String() {
				t.Errorf("%d of %d bytes", len(text), want.Len())
			}
		})
	}
}

// fill fills a FIFO, which has the size that the create of a task gives it, and adds to written what it has put there.
func fill(t *testing.T, out *fifo.Reader, written *strings.Builder) {
	t.Helper()
	raw, err := out.SyscallConn()
	check(t, err)
	page := []byte(strings.Repeat("x", os.Getpagesize()))
	check(t, raw.Control(func(fd uintptr) {
		for err == nil {
			var n int
			n, err = unix.Write(int(fd), page)
			written.Write(page[:max(n, 0)])
		}
	}))
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
}
