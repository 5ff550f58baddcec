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

// Serve serves h on the listeners until ctx ends or a listener fails. Then it
// closes the listeners, ends the requests that stream and gives the others
// grace to end, before it cuts them off. It returns nil where ctx ended, and
// owns the listeners; h is shut down.
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

// newServer returns a server with HTTP/1.1 only: HTTP/2 has no connection that
// can be taken over.
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
	h.endStreaming()
	if err := srv.Shutdown(ctx); err != nil {
		if err := srv.Close(); err != nil {
			return fmt.Errorf("cannot close the server: %w", err)
		}
	}
	rest, cancelRest := context.WithTimeout(context.Background(), grace)
	defer cancelRest()
	if err := h.Shutdown(rest); err != nil {
		return fmt.Errorf("requests did not end within %s: %w", grace, err)
	}
	return nil
}
