package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errhttp"
	"github.com/moby/moby/api/types/common"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/eventstream"
	"github.com/engine-lite/engine-lite/internal/classed"
)

func invalid(format string, args ...any) error {
	return classed.Errorf(errdefs.ErrInvalidArgument, format, args...)
}

func notFound(format string, args ...any) error {
	return classed.Errorf(errdefs.ErrNotFound, format, args...)
}

// notSupported is the error for a part of Docker's API that engine-lite doesn't have.
// The command docker inspect tries containers, images, volumes and so on in turn: where
// the error has the words "not supported", it goes on with the next one.
func notSupported(what string) error {
	return classed.Errorf(errdefs.ErrNotImplemented, "%s: not supported: engine-lite does not have it yet", what)
}

var errPageNotFound = notFound("page not found")

// errMethod is the error for a known path with a method that the path doesn't have.
var errMethod = errors.New("method not allowed")

// statusOf is the HTTP status for an error. As in Docker, a container in the wrong
// state is 409, not 412. A full disk is 507 (RFC 4918), where Docker answers 500.
func statusOf(err error) int {
	switch {
	case errors.Is(err, errMethod):
		return http.StatusMethodNotAllowed
	case errdefs.IsAlreadyExists(err), errdefs.IsConflict(err),
		errdefs.IsFailedPrecondition(err), errdefs.IsAborted(err):
		return http.StatusConflict
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return http.StatusInsufficientStorage
	case isHistoryGone(err):
		return http.StatusGone
	case errdefs.IsOutOfRange(err):
		return http.StatusBadRequest
	case errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	}
	return errhttp.ToHTTP(err)
}

// writeError answers with an error. A 304 has no body.
func writeError(w http.ResponseWriter, err error) error {
	status := statusOf(err)
	if status == http.StatusNotModified {
		w.WriteHeader(status)
		return nil
	}
	var gone *eventstream.HistoryGoneError
	if errors.As(err, &gone) {
		return writeJSON(w, status, goneResponse{gone.Error(), gone.Journal, gone.Oldest, gone.Newest})
	}
	return writeJSON(w, status, common.ErrorResponse{Message: err.Error()})
}

// goneResponse is the body of a 410: the numbers of the events that are still kept.
type goneResponse struct {
	Message string `json:"message"`
	Journal string `json:"journal"`
	Oldest  uint64 `json:"oldest"`
	Newest  uint64 `json:"newest"`
}

func isHistoryGone(err error) bool {
	var gone *eventstream.HistoryGoneError
	return errors.As(err, &gone)
}
