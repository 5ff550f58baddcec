package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/api/wire"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// Options configure a Handler. The zero value is usable.
type Options struct {
	// Version is the daemon's version, for the Server header; may be empty.
	Version string
	// Experimental answers the requests that are experimental in Docker's API: checkpoints.
	Experimental bool
	// Log gets one debug line per request, and a line for each handler that
	// panicked; nil is the standard logger.
	Log *logrus.Entry
	// Trace begins a span for a request, below the one that the request's header
	// names, and returns the function that ends the span; nil records nothing.
	Trace func(ctx context.Context, name string, header http.Header) (context.Context, func())
	// Heartbeat is the interval of the heartbeats in a stream of server-sent
	// events; 0 is 15 s.
	Heartbeat time.Duration
}

// Handler serves the REST API. It is an [http.Handler] for a server without
// HTTP/2; [Serve] runs one. Shutdown ends what it started.
type Handler struct {
	log       *logrus.Entry
	server    string
	table     table
	hangups   *wire.Hangups
	streaming *streaming
	beginSpan func(context.Context, string, http.Header) (context.Context, func())
	// experimental tells whether the experimental requests are answered.
	experimental bool

	// idle is closed once Shutdown was called and the last request ended.
	idle chan struct{}

	mu     sync.Mutex
	closed bool
	active int
}

// New returns a handler in front of e. The caller calls Shutdown.
func New(e Engine, o Options) *Handler {
	h := &Handler{
		log:          o.Log,
		hangups:      &wire.Hangups{},
		streaming:    newStreaming(),
		beginSpan:    o.Trace,
		experimental: o.Experimental,
		idle:         make(chan struct{}),
	}
	if h.log == nil {
		h.log = logrus.NewEntry(logrus.StandardLogger())
	}
	h.server = "engine-lite"
	if o.Version != "" {
		h.server += "/" + o.Version
	}
	h.server += " (linux)"
	h.table = newTable(h.routes(e, cmp.Or(o.Heartbeat, defaultHeartbeat)))
	return h
}

// streaming bounds the requests that have no end of their own (events, logs,
// stats, wait, attach, exec, pull).
type streaming struct {
	ctx context.Context
	end context.CancelFunc
}

func newStreaming() *streaming {
	ctx, cancel := context.WithCancel(context.Background())
	return &streaming{ctx, cancel}
}

// begin returns a context for such a request. The context ends with parent, and
// with s.
func (s *streaming) begin(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// Shutdown refuses new requests with 503, ends those that stream (events, logs,
// stats, wait, attach, exec) and waits until all requests have ended, also those
// that took their connection over. The error is ctx's, where ctx ends first; then
// Shutdown may be called again.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.streaming.end()
	h.mu.Lock()
	if !h.closed && h.active == 0 {
		close(h.idle)
	}
	h.closed = true
	h.mu.Unlock()
	select {
	case <-h.idle:
		h.hangups.Close()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter counts a request that begins. It returns false after Shutdown.
func (h *Handler) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.active++
	return true
}

func (h *Handler) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.active--
	if h.closed && h.active == 0 {
		close(h.idle)
	}
}

// ServeHTTP answers one request. It returns when the request's handler is done with
// the connection, also where the handler took the connection over.
func (h *Handler) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	w := &response{ResponseWriter: rw}
	h.identify(w.Header())
	if !h.enter() {
		h.fail(w, classed.Errorf(errdefs.ErrUnavailable, "engine-lite is shutting down"))
		return
	}
	defer h.leave()
	defer h.logRequest(w, req, time.Now())
	defer h.contain(w, req)
	defer h.release(w)
	if h.beginSpan != nil {
		ctx, end := h.beginSpan(req.Context(), req.Method+" "+req.URL.Path, req.Header)
		defer end()
		req = req.WithContext(ctx)
	}
	if err := h.dispatch(w, req); err != nil {
		h.fail(w, err)
	}
}

// identify sets the headers that each answer has. Clients negotiate by them.
func (h *Handler) identify(header http.Header) {
	header.Set("Api-Version", MaxVersion)
	header.Set("Ostype", "linux")
	header.Set("Server", h.server)
	header.Set("Docker-Experimental", strconv.FormatBool(h.experimental))
}

func (h *Handler) dispatch(w *response, req *http.Request) error {
	r := &request{Request: req, version: newest}
	segs := segments(req.URL.Path)
	var err error
	if len(segs) > 0 && versionSegment.MatchString(segs[0]) {
		if r.version, err = parseVersion(segs[0][1:]); err != nil {
			return err
		}
		segs = segs[1:]
	}
	handle, name, allow, err := h.table.find(req.Method, segs)
	if err != nil {
		if allow != nil {
			w.Header().Set("Allow", strings.Join(allow, ", "))
		}
		return err
	}
	if r.query, err = url.ParseQuery(req.URL.RawQuery); err != nil {
		return invalid("the query is malformed")
	}
	r.name = name
	return handle(w, r)
}

// fail sends an error to the client. Where an answer has begun, the connection is cut
// off, so that the client doesn't take the answer for a whole one.
func (h *Handler) fail(w *response, err error) {
	if w.begun() {
		h.log.WithError(err).Debug("a request failed in the middle of its answer; its connection is closed")
		panic(http.ErrAbortHandler)
	}
	if err := writeError(w, err); err != nil {
		h.log.WithError(err).Debug("cannot send an error to the client")
	}
}

// contain turns a handler's panic into an answer with status 500.
func (h *Handler) contain(w *response, req *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler)
	}
	h.log.Errorf("handler of %s %s panicked: %v\n%s", req.Method, req.URL.Path, p, debug.Stack())
	h.fail(w, classed.Errorf(errdefs.ErrInternal, "internal error"))
}

// release ends the body of a request whose handler panicked.
func (h *Handler) release(w *response) {
	if w.unfinished == nil {
		return
	}
	if err := w.unfinished(); err != nil {
		h.log.WithError(err).Debug("cannot end the answer of a handler that panicked")
	}
}

func (h *Handler) logRequest(w *response, req *http.Request, begin time.Time) {
	if !h.log.Logger.IsLevelEnabled(logrus.DebugLevel) {
		return
	}
	h.log.WithFields(logrus.Fields{
		"method": req.Method, "path": req.URL.Path, "status": w.status, "took": time.Since(begin),
	}).Debug("request")
}
