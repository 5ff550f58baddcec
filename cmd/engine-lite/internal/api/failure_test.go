package api

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

func TestStatusOf(t *testing.T) {
	for _, c := range []struct {
		class  error
		status int
	}{
		{errdefs.ErrNotFound, 404},
		{errdefs.ErrAlreadyExists, 409},
		{errdefs.ErrConflict, 409},
		{errdefs.ErrFailedPrecondition, 409},
		{errdefs.ErrAborted, 409},
		{errdefs.ErrNotModified, 304},
		{errdefs.ErrInvalidArgument, 400},
		{errdefs.ErrOutOfRange, 400},
		{errdefs.ErrUnauthenticated, 401},
		{errdefs.ErrPermissionDenied, 403},
		{errdefs.ErrResourceExhausted, 429},
		{errdefs.ErrNotImplemented, 501},
		{fmt.Errorf("%w: %w", unix.ENOSPC, errdefs.ErrResourceExhausted), 507},
		{unix.EDQUOT, 507},
		{errdefs.ErrUnavailable, 503},
		{errdefs.ErrInternal, 500},
		{errdefs.ErrDataLoss, 500},
		{errdefs.ErrUnknown, 500},
		{context.Canceled, 503},
		{context.DeadlineExceeded, 504},
		{errors.New("anything else"), 500},
		{errMethod, 405},
	} {
		if got := statusOf(fmt.Errorf("cannot do it: %w", c.class)); got != c.status {
			t.Errorf("%v: %d, want %d", c.class, got, c.status)
		}
	}
}

func TestNotModifiedHasNoBody(t *testing.T) {
	d := newDaemon(t, &fake{calls: calls{err: fmt.Errorf("runs already: %w", errdefs.ErrNotModified)}})
	a := d.do(post, "/containers/c/start", "")
	if a.status != 304 || a.body != "" {
		t.Errorf("%d %q", a.status, a.body)
	}
}

// TestFailureText has messages of our own without the class' words behind them.
func TestFailureText(t *testing.T) {
	err := invalid("no %s", "way")
	if err.Error() != "no way" || !errdefs.IsInvalidArgument(err) {
		t.Errorf("%v", err)
	}
	if err := notSupported("x"); !errdefs.IsNotImplemented(err) {
		t.Errorf("%v", err)
	}
	if err := notFound("x"); !errdefs.IsNotFound(err) {
		t.Errorf("%v", err)
	}
}
