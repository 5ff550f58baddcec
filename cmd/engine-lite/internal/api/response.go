package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/docker/docker/pkg/ioutils"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/api/wire"
)

// response is the answer to one request. It remembers whether the answer has begun:
// before that, an error can be sent in its place.
type response struct {
	http.ResponseWriter
	// status is 0 until the header is written. A hijack doesn't change it.
	status   int
	hijacked bool
	// unfinished ends a streamed body; nil where there is none, or it has ended.
	unfinished func() error
}

// begun reports whether the answer has begun: then its status is sent.
func (w *response) begun() bool { return w.status != 0 || w.hijacked }

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	w.ok()
	return w.ResponseWriter.Write(p)
}

// ReadFrom lets net/http use sendfile or splice where it can.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	w.ok()
	return io.Copy(w.ResponseWriter, r)
}

// Flush sends what was written so far, the header first.
func (w *response) Flush() {
	w.ok()
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap is for [http.ResponseController].
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// hijack takes the connection over. The caller closes it.
func (w *response) hijack() (net.Conn, *bufio.Reader, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot take the connection over: %w", err)
	}
	w.hijacked = true
	return conn, rw.Reader, nil
}

func (w *response) ok() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
}

// done answers a request without a result: 204, or err.
func done(w *response, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// okay is done for the requests that Docker answers with 200.
func okay(w *response, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusOK)
	}
	return err
}

// writeJSON answers with v. It sends nothing where v can't be encoded.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := encodeJSON(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, err = w.Write(body)
	return err
}

// encodeJSON leaves &, < and > as they are, and ends with a newline.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("cannot encode the answer: %w", err)
	}
	return b.Bytes(), nil
}

// list is s, or an empty list where s is nil: clients don't expect null.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// dict is m, or an empty map where m is nil.
func dict[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return m
}

// cutTime is how long a write to a client may still take once its stream ended.
const cutTime = 2 * time.Second

// cutAfter has writes to the client given up that are stuck cutTime after the end of ctx. The caller calls stop after the
// last write.
func (w *response) cutAfter(ctx context.Context) (stop func() bool) {
	control := http.NewResponseController(w.ResponseWriter)
	return context.AfterFunc(ctx, func() {
		// Without support for deadlines the server's own closing has to do.
		_ = control.SetWriteDeadline(time.Now().Add(cutTime))
	})
}

// body begins a streamed body. The handler calls end once: end sends what is
// pending, and the response may be used again afterwards. Where the handler panics
// before, ServeHTTP ends the body. A write that is stuck when ctx ends is given up
// after cutTime.
func (w *response) body(ctx context.Context) (body io.Writer, end func() error) {
	stop := w.cutAfter(ctx)
	flusher := ioutils.NewWriteFlusher(w)
	b := wire.NewBatch(flusher)
	w.unfinished = func() error {
		w.unfinished = nil
		err := b.Close()
		stop()
		return errors.Join(err, flusher.Close())
	}
	return b, w.unfinished
}
