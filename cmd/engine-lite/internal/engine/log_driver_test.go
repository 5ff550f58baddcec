package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
)

// logged has a container use a log driver.
func logged(driver string, options ...string) func(*container.CreateRequest) {
	return func(req *container.CreateRequest) {
		req.HostConfig.LogConfig = container.LogConfig{Type: driver, Config: map[string]string{}}
		for i := 0; i < len(options); i += 2 {
			req.HostConfig.LogConfig.Config[options[i]] = options[i+1]
		}
	}
}

// TestLogDrivers runs a container many times, so that its log is rotated between runs too. The last lines must be there.
func TestLogDrivers(t *testing.T) {
	for driver, c := range map[string]struct {
		shown string
		file  string
		all   int // the lines that the log has in the end
	}{
		"json-file": {"ID-json.log", "ID-json.log", 4},
		"local":     {"", "local-logs/container.log", 4},
	} {
		t.Run(driver, func(t *testing.T) {
			r := newRig(t)
			id := r.create("", "echo hello", logged(driver, "max-size", "1", "max-file", "4", "compress", "true"))
			for range 6 {
				next := r.wait(id, container.WaitConditionNextExit)
				must(t, r.e.ContainerStart(t.Context(), id))
				receive(t, next)
			}
			if got := r.logs(id); got != strings.Repeat("hello\n", c.all) {
				t.Errorf("the log has %q", got)
			}
			r.ended(id)
			place := func(name string) string {
				return filepath.Join(r.e.containerDir(id), strings.ReplaceAll(name, "ID", id))
			}
			for _, name := range []string{"", ".1.gz", ".2.gz", ".3.gz"} {
				if _, err := os.Stat(place(c.file) + name); err != nil {
					t.Error(err)
				}
			}
			got, err := r.e.ContainerInspect(t.Context(), id, false)
			must(t, err)
			if want := map[bool]string{true: "", false: place(c.shown)}[c.shown == ""]; got.LogPath != want {
				t.Errorf("inspect shows the log at %q, want %q", got.LogPath, want)
			}
			must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
			r.empty()
		})
	}
}

func TestLogDetails(t *testing.T) {
	r := newRig(t)
	id := r.create("web", "echo hello", logged("json-file", "labels", "b,a", "env", "X", "tag", "{{.Name}}"),
		func(req *container.CreateRequest) {
			req.Labels = map[string]string{"a": "1&2", "b": "3 4", "c": "5"}
			req.Env = []string{"X=y=z"}
		})
	next := r.wait(id, container.WaitConditionNextExit)
	must(t, r.e.ContainerStart(t.Context(), id))
	receive(t, next)
	var out bytes.Buffer
	o := LogsOptions{Stdout: true, Details: true, Tail: -1}
	o.Open = func(bool) (io.Writer, io.Writer, error) { return &out, &out, nil }
	must(t, r.e.ContainerLogs(t.Context(), id, o))
	if got := out.String(); got != "X=y%3Dz,a=1%262,b=3+4,tag=web hello\n" {
		t.Errorf("the log with details is %q", got)
	}
	raw, err := os.ReadFile(filepath.Join(r.e.containerDir(id), id+"-json.log"))
	must(t, err)
	if want := `{"log":"hello\n","stream":"stdout","attrs":{"X":"y=z","a":"1\u00262","b":"3 4","tag":"web"},"time":`; !strings.HasPrefix(string(raw), want) {
		t.Errorf("the log has %s", raw)
	}
	r.ended(id)
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.empty()
}

// TestWrongLogOptions starts a container whose options have wrong values. As in dockerd, the start fails, and a client
// that has attached before learns that nothing comes.
func TestWrongLogOptions(t *testing.T) {
	r := newRig(t)
	id := r.create("", "echo hello", logged("local", "max-file", "1"))
	attached, opened := make(chan error, 1), make(chan struct{})
	go func() {
		attached <- r.e.ContainerAttach(context.WithoutCancel(t.Context()), id, AttachOptions{
			Stdout: true, Stream: true, Open: func(bool) (Streams, error) { close(opened); return Streams{Stdout: io.Discard}, nil },
		})
	}()
	receive(t, notify(opened))
	cause := "compression cannot be enabled when max file count is 1"
	err := r.e.ContainerStart(t.Context(), id)
	want := "failed to create task for container: failed to initialize logging driver: " + cause
	if !errdefs.IsInternal(err) || err.Error() != want {
		t.Errorf("start: %v", err)
	}
	must(t, receive(t, attached))
	got, err := r.e.ContainerInspect(t.Context(), id, false)
	must(t, err)
	if got.State.ExitCode != 128 || got.State.Error != want {
		t.Errorf("state %+v", got.State)
	}
	o := LogsOptions{Stdout: true, Tail: -1, Open: func(bool) (io.Writer, io.Writer, error) { return nil, nil, fmt.Errorf("opened") }}
	if err := r.e.ContainerLogs(t.Context(), id, o); err == nil || err.Error() != cause {
		t.Errorf("logs: %v", err)
	}
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.empty()
}
