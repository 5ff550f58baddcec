package ociruntime

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

func TestReleasable(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	for _, tt := range []struct {
		name    string
		runtime Runtime
		spec    specs.Spec
		want    bool
	}{
		{"runc", Runtime{Path: "/usr/sbin/runc"}, specs.Spec{}, true},
		{"crun", Runtime{Path: "/usr/bin/crun"}, specs.Spec{}, true},
		{"another", Runtime{Path: "/usr/bin/nvidia-container-runtime"}, specs.Spec{}, false},
		{"arguments", Runtime{Path: "/usr/sbin/runc", Args: []string{"--debug"}}, specs.Spec{}, false},
		{"hooks", Runtime{Path: "/usr/sbin/runc"}, specs.Spec{Hooks: &specs.Hooks{}}, false},
	} {
		if got := tt.runtime.CanStartDirectly(&tt.spec); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	if (Runtime{Path: "/usr/sbin/runc"}).CanStartDirectly(&specs.Spec{}) {
		t.Error("systemd's notify socket is passed over")
	}
}

// createdState is the state of a container "c", and the path of its FIFO.
func createdState(t *testing.T) (Runtime, string) {
	t.Helper()
	r := Runtime{Path: "/usr/sbin/runc", Root: t.TempDir()}
	path := filepath.Join(r.Root, "c", execFIFO)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return r, path
}

// nobody holds the FIFO of a start.
func nobody(*os.File) {}

// TestReleaseWaitsForWriter: runc's init process opens its FIFO after the reader.
func TestReleaseWaitsForWriter(t *testing.T) {
	r, path := createdState(t)
	looked, wrote := make(chan struct{}), make(chan error, 1)
	go func() {
		<-looked // nothing is written yet
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("0")
			err = errors.Join(err, f.Close())
		}
		wrote <- err
	}()
	looks := 0
	err := r.StartDirectly(t.Context(), "c", func() bool {
		if looks++; looks == 2 {
			close(looked)
		}
		return true
	}, nobody)
	if err := errors.Join(err, <-wrote); err != nil {
		t.Fatal(err)
	}
	if statefile.Exists(path) {
		t.Error("the FIFO is left, by which the container is taken for created")
	}
}

// TestReleaseOfWriterThatEnded: a process that has written its byte and ended has been
// started.
func TestReleaseOfWriterThatEnded(t *testing.T) {
	r, path := createdState(t)
	done := make(chan error, 1)
	err := r.StartDirectly(t.Context(), "c", func() bool {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("0")
			err = errors.Join(err, f.Close())
		}
		done <- err
		return false
	}, nobody)
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
}

// TestReleaseWritesToReader: crun's init process reads.
func TestReleaseWritesToReader(t *testing.T) {
	r, path := createdState(t)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := r.StartDirectly(t.Context(), "c", func() bool { return true }, nobody); err != nil {
		t.Fatal(err)
	}
	var b [2]byte
	if n, err := unix.Read(fd, b[:]); n != 1 || err != nil {
		t.Errorf("the init process read %d bytes: %v", n, err)
	}
	if statefile.Exists(path) {
		t.Error("the FIFO is left, by which the container is taken for created")
	}
}

// TestNotReleased: an unexpected state is left to the OCI runtime, unchanged.
func TestNotReleased(t *testing.T) {
	dead := func() bool { return false }
	r, path := createdState(t)
	if err := r.StartDirectly(t.Context(), "c", dead, nobody); !errors.Is(err, ErrNotStarted) {
		t.Errorf("init process dead: %v", err)
	}
	if !statefile.Exists(path) {
		t.Error("the FIFO is gone")
	}
	if err := r.StartDirectly(t.Context(), "other", dead, nobody); !errors.Is(err, ErrNotStarted) {
		t.Errorf("no state: %v", err)
	}
	if err := errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := r.StartDirectly(t.Context(), "c", dead, nobody); !errors.Is(err, ErrNotStarted) {
		t.Errorf("a file: %v", err)
	}
}

// TestReleaseEnds: the release ends with its context while the process does not write.
func TestReleaseEnds(t *testing.T) {
	r, _ := createdState(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	err := r.StartDirectly(ctx, "c", func() bool { return true }, nobody)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// TestFinishStart finishes starts that were cut off at each step.
func TestFinishStart(t *testing.T) {
	open := func(t *testing.T, path string, flags int) *os.File {
		t.Helper()
		f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	write := func(t *testing.T, path string) {
		t.Helper()
		f := open(t, path, os.O_WRONLY)
		if _, err := f.WriteString("0"); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	for _, tt := range []struct {
		name, runtime string
		held          bool                            // the keeper has a reader
		before        func(t *testing.T, path string) // what the init process and the first runtimed did
		dead          bool                            // the init process is dead
		begun, fails  bool
	}{
		{name: "written", runtime: "runc", held: true, before: write, begun: true},
		{name: "written, and dead", runtime: "runc", held: true, before: write, dead: true, begun: true},
		{name: "read already", runtime: "runc", held: true, begun: true, before: func(t *testing.T, path string) {
			reader := open(t, path, os.O_RDONLY)
			write(t, path)
			if n, err := reader.Read(make([]byte, 1)); n != 1 {
				t.Fatal(err)
			}
		}},
		{name: "not written, and dead", runtime: "runc", held: true, dead: true},
		{name: "not written", runtime: "runc", held: true, fails: true},
		{name: "not begun", runtime: "runc"},
		{name: "not begun", runtime: "crun", before: func(t *testing.T, path string) { open(t, path, os.O_RDONLY) }},
		{name: "not read yet", runtime: "crun", begun: true, before: func(t *testing.T, path string) {
			open(t, path, os.O_RDONLY)
			write(t, path)
		}},
		{name: "read", runtime: "crun", begun: true},
		{name: "dead", runtime: "crun", dead: true},
	} {
		t.Run(tt.runtime+"/"+tt.name, func(t *testing.T) {
			r, path := createdState(t)
			r.Path = "/usr/bin/" + tt.runtime
			var held *os.File
			if tt.held {
				held = open(t, path, os.O_RDONLY)
			}
			if tt.before != nil {
				tt.before(t, path)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			begun, err := r.FinishStart(ctx, "c", func() bool { return !tt.dead }, held)
			if begun != tt.begun || (err != nil) != tt.fails {
				t.Errorf("begun %t, %v", begun, err)
			}
			if statefile.Exists(path) == tt.begun {
				t.Errorf("the FIFO is left: %t", !tt.begun)
			}
		})
	}
}
