package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// somePath is what a fake container has at a path.
var somePath = container.PathStat{
	Name: "a<b", Size: 5, Mode: fs.ModeSymlink | 0o777, Mtime: time.Unix(1700000000, 5).UTC(), LinkTarget: "/x",
}

const somePathText = `{"name":"a\u003cb","size":5,"mode":134218239,"mtime":"2023-11-14T22:13:20.000000005Z",` +
	`"linkTarget":"/x"}`

func statOf(t *testing.T, header http.Header) string {
	t.Helper()
	text, err := base64.StdEncoding.DecodeString(header.Get(statHeader))
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

func TestStatPath(t *testing.T) {
	d := newDaemon(t, &fake{fakeContainers: fakeContainers{path: somePath}})
	if a := d.do(head, "/containers/c1/archive?path=/a%0Ab", ""); a.status != 200 || statOf(t, a.header) != somePathText {
		t.Errorf("%d %v", a.status, a.header)
	}
	a := d.do(get, "/containers/c1/archive", "")
	if a.status != 400 || a.body != `{"message":"bad parameter: path cannot be empty"}`+"\n" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if calls := d.engine.noted(); !slices.Equal(calls, []string{"stat path[c1 /a\nb]"}) {
		t.Error(calls)
	}
}

// TestGetArchive has an archive, one that breaks off, and one of a client that takes nothing.
func TestGetArchive(t *testing.T) {
	var fails error
	d := newDaemon(t, &fake{fakeContainers: fakeContainers{pack: func(ctx context.Context, o engine.PackOptions) error {
		w, err := o.Open(ctx, somePath)
		if err != nil {
			return err
		}
		_, err = w.Write(bytes.Repeat([]byte("x"), 1<<16))
		return errors.Join(err, fails)
	}}})
	a := d.do(get, "/containers/c1/archive?path=/x", "")
	if a.status != 200 || len(a.body) != 1<<16 || a.header.Get("Content-Type") != "application/x-tar" ||
		statOf(t, a.header) != somePathText {
		t.Errorf("%d %d %v", a.status, len(a.body), a.header)
	}
	fails = errors.New("the disk is broken")
	resp, err := d.client.Get("http://docker/containers/c1/archive?path=/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an archive that breaks off looks whole: %v", err)
	}
}

// TestArchiveEnds ends copies whose clients neither take nor send anything.
func TestArchiveEnds(t *testing.T) {
	ended := classed.Errorf(errdefs.ErrConflict, "ended")
	packed := make(chan error, 1)
	d := newDaemon(t, &fake{fakeContainers: fakeContainers{
		pack: func(ctx context.Context, o engine.PackOptions) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			w, err := o.Open(ctx, somePath)
			for part := make([]byte, 1<<20); err == nil; {
				time.AfterFunc(50*time.Millisecond, cancel)
				_, err = w.Write(part)
			}
			packed <- err
			return err
		},
		unpack: func(ctx context.Context, o engine.UnpackOptions) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			body := o.Open(ctx)
			if text, err := io.ReadAll(io.LimitReader(body, 5)); string(text) != "begin" {
				t.Error(err)
			}
			cancel()
			if _, err := body.Read(make([]byte, 1)); err == nil {
				t.Error("a read goes on")
			}
			return ended
		},
	}})
	resp, err := d.client.Get("http://docker/containers/c1/archive?path=/x")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-packed:
		if err == nil {
			t.Error("a write to a client that takes nothing succeeds")
		}
	case <-time.After(10 * time.Second):
		t.Error("a write to a client that takes nothing does not end")
	}
	resp.Body.Close()
	from, to := io.Pipe()
	defer to.Close()
	go func() { _, _ = to.Write([]byte("begin")) }()
	req, err := http.NewRequestWithContext(t.Context(), put, "http://docker/containers/c1/archive?path=/x", from)
	if err != nil {
		t.Fatal(err)
	}
	resp, err = d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != 409 || !strings.Contains(string(text), "ended") {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

func TestPutArchive(t *testing.T) {
	var got string
	unpack := func(ctx context.Context, o engine.UnpackOptions) error {
		text, err := io.ReadAll(o.Open(ctx))
		got = string(text)
		return err
	}
	d := newDaemon(t, &fake{fakeContainers: fakeContainers{unpack: unpack}})
	for query, want := range map[string]string{
		"path=/x": "unpack[c1 /x false false]", "path=/x&copyUIDGID=1": "unpack[c1 /x true false]",
		"path=/x&noOverwriteDirNonDir=true&copyUIDGID=0": "unpack[c1 /x false true]",
		"path=/x&noOverwriteDirNonDir=":                  "unpack[c1 /x false false]",
	} {
		a := d.do(put, "/containers/c1/archive?"+query, "archive of "+query)
		calls := d.engine.noted()
		if a.status != 200 || a.body != "" || got != "archive of "+query || calls[len(calls)-1] != want {
			t.Errorf("%d %q %q %v", a.status, a.body, got, calls)
		}
	}
}
