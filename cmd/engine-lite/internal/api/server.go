package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
)

// headerTimeout bounds how long a client may take to send a request's header.
const headerTimeout = 30 * time.Second

// Serve serves h on the listeners until ctx ends or a listener fails. Then it closes
// the listeners, ends the requests that stream, waits up to grace for the others, and
// cuts off those that are left. It owns the listeners, and shuts h down. It returns
// nil where ctx ended and all requests have ended within grace.
func Serve(ctx context.Context, h *Handler, grace time.Duration, listeners ...net.Listener) error {
	errLog := h.log.WriterLevel(logrus.DebugLevel)
	defer errLog.Close()
	srv := newServer(h, errLog)
	g, gctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		g.Go(func() error { return serve(srv, l) })
	}
	g.Go(func() error {
		<-gctx.Done()
		return stop(srv, h, grace)
	})
	return g.Wait()
}

// newServer returns a server with HTTP/1.1 only: an HTTP/2 connection can't be taken
// over.
func newServer(h *Handler, errLog io.Writer) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           h,
		Protocols:         protocols,
		ReadHeaderTimeout: headerTimeout,
		ErrorLog:          log.New(errLog, "", 0),
	}
}

func serve(srv *http.Server, l net.Listener) error {
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve on %s: %w", l.Addr(), err)
	}
	return nil
}

func stop(srv *http.Server, h *Handler, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	h.streaming.end()
	if err := srv.Shutdown(ctx); err != nil {
		if err := srv.Close(); err != nil {
			return fmt.Errorf("cannot close the server: %w", err)
		}
	}
	ending, cancelEnding := context.WithTimeout(context.Background(), grace)
	defer cancelEnding()
	if err := h.Shutdown(ending); err != nil {
		return fmt.Errorf("requests did not end within %s: %w", grace, err)
	}
	return nil
}
