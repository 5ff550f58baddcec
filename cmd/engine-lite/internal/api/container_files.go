package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

// statHeader tells what is at the path of a request for an archive: JSON in base64.
const statHeader = "X-Docker-Container-Path-Stat"

// archivePath is the path of a request for an archive.
func (r *request) archivePath() (string, error) {
	path := r.query.Get("path")
	if path == "" {
		return "", invalid("bad parameter: path cannot be empty")
	}
	return path, nil
}

func setStat(w *response, s container.PathStat) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("cannot encode the answer: %w", err)
	}
	w.Header().Set(statHeader, base64.StdEncoding.EncodeToString(text))
	return nil
}

func (h containerHandlers) statPath(w *response, r *request) error {
	path, err := r.archivePath()
	if err != nil {
		return err
	}
	s, err := h.engine.ContainerStatPath(r.Context(), r.name, path)
	if err != nil {
		return err
	}
	return okay(w, setStat(w, s))
}

// getArchive sends an archive of what is at a path.
func (h containerHandlers) getArchive(w *response, r *request) error {
	path, err := r.archivePath()
	if err != nil {
		return err
	}
	ctx, cancel := h.streaming.begin(r.Context())
	defer cancel()
	stop := func() bool { return false }
	defer func() { stop() }()
	return h.engine.ContainerPack(ctx, r.name, engine.PackOptions{
		Path: path,
		Open: func(ctx context.Context, s container.PathStat) (io.Writer, error) {
			if err := setStat(w, s); err != nil {
				return nil, err
			}
			w.Header().Set("Content-Type", "application/x-tar")
			w.WriteHeader(http.StatusOK)
			control := http.NewResponseController(w.ResponseWriter)
			// Without support for deadlines the server's own closing has to do.
			stop = context.AfterFunc(ctx, func() { _ = control.SetWriteDeadline(time.Now()) })
			return w, nil
		},
	})
}

// putArchive unpacks the body of the request.
func (h containerHandlers) putArchive(w *response, r *request) error {
	path, err := r.archivePath()
	if err != nil {
		return err
	}
	ctx, cancel := h.streaming.begin(r.Context())
	defer cancel()
	stop := func() bool { return false }
	defer func() { stop() }()
	return okay(w, h.engine.ContainerUnpack(ctx, r.name, engine.UnpackOptions{
		Path: path, CopyUIDGID: r.flag("copyUIDGID"), NoOverwriteDirNonDir: r.flag("noOverwriteDirNonDir"),
		Open: func(ctx context.Context) io.Reader {
			control := http.NewResponseController(w.ResponseWriter)
			stop = context.AfterFunc(ctx, func() { _ = control.SetReadDeadline(time.Now()) })
			return r.Body
		},
	}))
}
