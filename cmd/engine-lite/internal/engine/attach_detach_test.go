package engine

import (
	"bytes"
	"io"
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/exec"
)

// A detach has an event, and ends only the attachment.
func TestDetachEvents(t *testing.T) {
	r := newRig(t)
	id := r.run("", "cat", func(req *container.CreateRequest) { req.Tty, req.OpenStdin = true, true })
	typed := func(bool) (Streams, error) {
		return Streams{Stdin: bytes.NewReader([]byte("x\x10\x11")), Stdout: io.Discard}, nil
	}
	must(t, r.e.ContainerAttach(t.Context(), id, AttachOptions{Stdin: true, Stdout: true, Stream: true, Open: typed}))
	execID, err := r.e.ExecCreate(t.Context(), id, container.ExecCreateRequest{
		Cmd: []string{"sh", "-c", "cat"}, Tty: true, AttachStdin: true, AttachStdout: true,
	})
	must(t, err)
	must(t, r.e.ExecStart(t.Context(), execID, exec.StartOptions{Open: typed}))
	if got, err := r.e.ExecInspect(t.Context(), execID); err != nil || !got.Running {
		t.Errorf("the exec: %+v, %v", got, err)
	}
	want := []string{"create", "start", "attach", "detach", "exec_create: sh -c cat", "exec_start: sh -c cat",
		"exec_detach"}
	if got := r.actions(id); !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}
