package remote

import (
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestNative(t *testing.T) {
	for _, c := range []struct {
		code codes.Code
		text string
		is   func(error) bool
		want string
	}{
		{codes.Unknown, "context deadline exceeded", errdefs.IsDeadlineExceeded, "context deadline exceeded"},
		{codes.Unknown, "context deadline exceeded: unknown", errdefs.IsDeadlineExceeded, "context deadline exceeded"},
		{codes.Unknown, "cannot exec: context deadline exceeded: unknown", errdefs.IsDeadlineExceeded,
			"cannot exec: context deadline exceeded"},
		{codes.Unknown, "cannot exec: context canceled", errdefs.IsCanceled, "cannot exec: context canceled"},
		{codes.DeadlineExceeded, "late", errdefs.IsDeadlineExceeded, "late: context deadline exceeded"},
		{codes.Unknown, `"context deadline exceeded" was printed`, errdefs.IsUnknown,
			`"context deadline exceeded" was printed`},
		{codes.Unknown, "context deadline exceeded: exit status 1", errdefs.IsUnknown,
			"context deadline exceeded: exit status 1"},
		{codes.Unknown, "no context canceled", errdefs.IsUnknown, "no context canceled"},
		{codes.NotFound, "gone: context canceled", errdefs.IsNotFound, "gone: context canceled"},
	} {
		err := native(status.Error(c.code, c.text))
		if !c.is(err) || err.Error() != c.want {
			t.Errorf("%v %q: %v", c.code, c.text, err)
		}
	}
	if err := native(nil); err != nil {
		t.Error(err)
	}
}

// TestEndsWithoutCode has a daemon tell the end of a request's time in its text only, as
// containerd 1.6 does.
func TestEndsWithoutCode(t *testing.T) {
	h := &hostile{fails: status.Error(codes.Unknown, "context deadline exceeded: unknown")}
	d, _ := h.serve(t)
	if _, err := d.Start(t.Context(), "c", "e"); !errdefs.IsDeadlineExceeded(err) || errdefs.IsUnknown(err) {
		t.Error(err)
	}
	h = &hostile{fails: status.Error(codes.Unknown, "cannot wait: context canceled")}
	d, _ = h.serve(t)
	if _, err := d.Wait(t.Context(), "c", "e"); !errdefs.IsCanceled(err) || errdefs.IsUnknown(err) {
		t.Error(err)
	}
}
