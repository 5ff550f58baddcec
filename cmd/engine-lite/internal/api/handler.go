package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
)

// Options are what the handler is told about the daemon.
type Options struct {
	// Version is the daemon's version, for the Server header; may be empty.
	Version string
	// Log gets one debug line per request, and a line for each handler that
	// panicked; nil is the standard logger.
	Log *logrus.Entry
	// Trace begins a span of a request, below the one that its header names, and
	// returns what ends it; nil where nobody records.
	Trace func(ctx context.Context, name string, header http.Header) (context.Context, func())
	// Heartbeat is how often a stream of server-sent events shows that it
	// lives; 0 is 15 s.
	Heartbeat time.Duration
}

// Handler serves the REST API. It is an [http.Handler] for a server without
// HTTP/2; [Serve] runs one. Shutdown ends what it started.
type Handler struct {
	engine    Engine
	log       *logrus.Entry
	server    string
	table     table
	hangups   *hangups
	heartbeat time.Duration
	begin     func(context.Context, string, http.Header) (context.Context, func())

	// streaming ends with Shutdown, and so do the requests that have no end of
	// their own.
	streaming    context.Context
	endStreaming context.CancelFunc

	// idle is closed once Shutdown was called and the last request ended.
	idle chan struct{}

	mu     sync.Mutex
	closed bool
	active int
}

// New returns a handler in front of e. The caller calls Shutdown.
func New(e Engine, o Options) *Handler {
	h := &Handler{engine: e, log: o.Log, table: newTable(), hangups: &hangups{}, heartbeat: o.Heartbeat, begin: o.Trace, idle: make(chan struct{})}
	if h.log == nil {
		h.log = logrus.NewEntry(logrus.StandardLogger())
	}
	if h.heartbeat == 0 {
		h.heartbeat = defaultHeartbeat
	}
	h.server = "engine-lite"
	if o.Version != "" {
		h.server += "/" + o.Version
	}
	h.server += " (linux)"
	h.streaming, h.endStreaming = context.WithCancel(context.Background())
	return h
}

// Shutdown refuses new requests with 503, ends those that stream (events, logs,
// stats, wait, attach, exec) and waits for all handlers, those that took their
// connection over too. It fails with ctx's error where ctx ends first; then a
// later call goes on waiting.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.endStreaming()
	h.mu.Lock()
	if !h.closed && h.active == 0 {
		close(h.idle)
	}
	h.closed = true
	h.mu.Unlock()
	select {
	case <-h.idle:
		h.hangups.close()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter counts a request that begins; false after Shutdown.
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

// ServeHTTP answers one request. It returns only when the handler is done with
// the connection, also where it took it over.
func (h *Handler) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	w := &response{ResponseWriter: rw}
	h.identify(w.Header())
	if !h.enter() {
		h.fail(w, &failure{"engine-lite is shutting down", errdefs.ErrUnavailable})
		return
	}
	defer h.leave()
	defer h.trace(w, req, time.Now())
	defer h.contain(w, req)
	defer h.release(w)
	if h.begin != nil {
		ctx, end := h.begin(req.Context(), req.Method+" "+req.URL.Path, req.Header)
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
	header.Set("Docker-Experimental", "false")
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
	return handle(h, w, r)
}

// fail tells an error to the client. Where an answer has begun it is cut off,
// so that the client doesn't take it for whole.
func (h *Handler) fail(w *response, err error) {
	if w.begun() {
		h.log.WithError(err).Debug("answer failed in the middle")
		panic(http.ErrAbortHandler)
	}
	if err := writeError(w, err); err != nil {
		h.log.WithError(err).Debug("cannot answer with an error")
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
	h.fail(w, &failure{"internal error", errdefs.ErrInternal})
}

// release ends the body of a handler that panicked.
func (h *Handler) release(w *response) {
	if w.unfinished == nil {
		return
	}
	if err := w.unfinished(); err != nil {
		h.log.WithError(err).Debug("cannot end an answer")
	}
}

func (h *Handler) trace(w *response, req *http.Request, begin time.Time) {
	if !h.log.Logger.IsLevelEnabled(logrus.DebugLevel) {
		return
	}
	h.log.WithFields(logrus.Fields{
		"method": req.Method, "path": req.URL.Path, "status": w.status, "took": time.Since(begin),
	}).Debug("request")
}
