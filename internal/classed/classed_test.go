package classed

import (
	"errors"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
)

// TestErrorf makes errors of two classes.
func TestErrorf(t *testing.T) {
	t.Parallel()
	err := Errorf(errdefs.ErrNotFound, "no such container: %s", "c1")
	if text := err.Error(); text != "no such container: c1" {
		t.Errorf("the text is %q", text)
	}
	for _, err := range []error{err, fmt.Errorf("cannot start: %w", err)} {
		if !errdefs.IsNotFound(err) || !errors.Is(err, errdefs.ErrNotFound) || errdefs.IsConflict(err) {
			t.Errorf("%v is not of its class, or is of another one", err)
		}
	}
	if err := Errorf(errdefs.ErrConflict, "100%%"); !errdefs.IsConflict(err) || err.Error() != "100%" {
		t.Errorf("the other error is %v", err)
	}
}
