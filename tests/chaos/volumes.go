package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/engine-lite/engine-lite/events"
)

// withFiles is the name of the kind of container that has mounts, and into which files are copied.
const withFiles = "copies"

// mountsOf are the mounts of a container of that kind: a volume with a name, one without, a directory of the host that the
// engine makes, and the files of the image.
func (w *world) mountsOf(c *container) []map[string]any {
	return []map[string]any{
		{"Type": "volume", "Source": c.volume(), "Target": "/data"},
		{"Type": "volume", "Target": "/anonymous"},
		{"Type": "bind", "Source": w.bindOf(c), "Target": "/bind", "BindOptions": map[string]any{"CreateMountpoint": true}},
		{"Type": "image", "Source": "chaos", "Target": "/image"},
		{"Type": "tmpfs", "Target": "/tmp"},
	}
}

func (c *container) volume() string            { return "volume-of-" + c.name }
func (w *world) bindOf(c *container) string    { return w.file("bind-of-" + c.name) }
func (w *world) volumeDir(c *container) string { return w.file("root/volumes/" + c.volume()) }
func copyName(n int) string                    { return fmt.Sprintf("copy-%d", n) }
func (c *container) archivePath() string       { return c.path() + "/archive?path=" }

// copyFiles copies files into the container's volume while the container runs, and back.
func copyFiles(w *world, acting, ctx context.Context, c *container) error {
	for range 1 + c.random.IntN(10) {
		if acting.Err() != nil {
			break
		}
		if err := w.copyOne(ctx, c); err != nil {
			return err
		}
		sleep(acting, time.Duration(c.random.IntN(600))*time.Millisecond)
	}
	return w.endRandomly(ctx, c)
}

// copyOne copies a new file into the volume, and a random one back.
func (w *world) copyOne(ctx context.Context, c *container) error {
	content := make([]byte, 1+c.random.IntN(300<<10))
	_, _ = rand.Read(content) // never fails, see crypto/rand
	n := len(c.copied)
	archive, err := tarOf(copyName(n), 0o644, content)
	if err != nil {
		return err
	}
	a := w.send(ctx, http.MethodPut, c.archivePath()+"/data", "application/x-tar", archive)
	switch {
	case a.done():
		c.copied = append(c.copied, content)
	case a.unclear(), a.status == http.StatusNotFound, a.status == http.StatusConflict:
		c.copied = append(c.copied, nil) // a part of the file may be there, or the container is gone
	default:
		return fmt.Errorf("copy: %d %s", a.status, a.body)
	}
	return w.readBack(ctx, c, c.random.IntN(len(c.copied)))
}

// readBack copies a file out of the volume, and compares it.
func (w *world) readBack(ctx context.Context, c *container, n int) error {
	if c.copied[n] == nil {
		return nil
	}
	a := w.call(ctx, http.MethodGet, c.archivePath()+"/data/"+copyName(n), "")
	if !a.done() {
		return nil // the engine was killed, or the container was removed
	}
	r := tar.NewReader(bytes.NewReader(a.body))
	_, err := r.Next()
	if err != nil {
		return fmt.Errorf("copy back: %w", err)
	}
	got, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(got, c.copied[n]) {
		err = fmt.Errorf("%s has %d bytes, not the %d that were copied", copyName(n), len(got), len(c.copied[n]))
	}
	return err
}

func tarOf(name string, mode int64, content []byte) (*bytes.Buffer, error) {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	err := t.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content))})
	if err == nil {
		_, err = t.Write(content)
	}
	return &b, errors.Join(err, t.Close())
}

// checkFiles compares volume and bind of a removed container with what was copied, and what its runs have written. Then it
// removes both.
func (w *world) checkFiles(ctx context.Context, c *container) error {
	data := filepath.Join(w.volumeDir(c), "_data")
	for n, want := range c.copied {
		if want == nil {
			continue
		}
		if got, err := os.ReadFile(filepath.Join(data, copyName(n))); err != nil || !bytes.Equal(got, want) {
			w.difference("container %s: its volume has %d bytes of %s, which has %d: %v", c.name, len(got), copyName(n), len(want), err)
		}
	}
	for _, r := range w.reports.runsOf(c.name, false) {
		if !r.ended && r.out == 0 {
			continue // it may have been killed before it wrote them
		}
		for _, dir := range []string{data, w.bindOf(c)} {
			if got, err := os.ReadFile(filepath.Join(dir, r.token)); string(got) != r.token {
				w.difference("container %s: run %s has left %q in %s: %v", c.name, r.token, got, dir, err)
			}
		}
	}
	var a answer
	if !waitUntil(ctx, func() bool {
		a = w.call(ctx, http.MethodDelete, "/volumes/"+c.volume(), "")
		return !a.unclear()
	}) || !a.done() && a.status != http.StatusNotFound {
		return fmt.Errorf("remove the volume: %d %s %v", a.status, a.body, a.err)
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		w.difference("container %s: the files of its volume are there after its removal: %v", c.name, err)
	}
	return os.RemoveAll(w.bindOf(c))
}

// checkVolumes checks that each volume was created and removed once, and unmounted as often as mounted.
func (w *world) checkVolumes(ctx context.Context, history []events.Event) {
	count := map[string]map[string]int{}
	for _, e := range history {
		if e.Type != "volume" {
			continue
		}
		if count[e.ID] == nil {
			count[e.ID] = map[string]int{}
		}
		count[e.ID][e.Action]++
	}
	for name, n := range count {
		if n["create"] != 1 || n["destroy"] != 1 || n["mount"] != n["unmount"] {
			w.difference("volume %s has the events %v", name, n)
		}
	}
	var list struct{ Volumes []struct{ Name string } }
	if a := w.callUntilAnswered(ctx, http.MethodGet, "/volumes"); json.Unmarshal(a.body, &list) != nil || len(list.Volumes) > 0 {
		w.difference("volumes at the end: %d %s %v", a.status, a.body, a.err)
	}
	w.sums.volumes = len(count)
}
