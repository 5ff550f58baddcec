package tests

import (
	"archive/tar"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestCopyOverKill kills the engine while a file is copied into a container that does not run. The container can be started,
// and has what was copied before the kill.
func TestCopyOverKill(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	var made struct{ ID string }
	r.do(t, http.MethodPost, "/containers/create", map[string]any{
		"Image": "busybox", "Cmd": []string{"cat", "/first"}, "HostConfig": map[string]any{"NetworkMode": "none"},
	}, &made)
	body, archive := io.Pipe()
	defer body.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut,
		"http://engine/containers/"+made.ID+"/archive?path=/", body)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan string, 1)
	go func() { // ends with the engine
		answer, err := r.client.Do(request)
		if err != nil {
			answered <- ""
			return
		}
		answer.Body.Close()
		answered <- answer.Status
	}()
	w := tar.NewWriter(archive)
	copyIn := func(name string, size int64, text string) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	copyIn("first", 6, "hello\n")
	copyIn("second", 1<<30, strings.Repeat("x", 1<<20))
	await(t, "the copy is under way", func() bool {
		list, err := filepath.Glob(r.root() + "/images/snapshots/*/snapshots/*/fs/second")
		return err == nil && len(list) == 1
	})
	r.kill(t, r.enginePid())
	archive.Close() // the client waits for it
	if status := <-answered; status != "" {
		t.Errorf("the copy was answered: %s", status)
	}
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	r.do(t, http.MethodPost, "/containers/"+made.ID+"/start", nil, nil)
	await(t, "the container has the first file", func() bool { return r.output(t, made.ID) == "hello\n" })
}
