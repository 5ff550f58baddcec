package engine

import (
	"errors"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
)

// What an OCI runtime says of a command counts only if it was a runtime that
// said it: a missing socket of the runtime daemon isn't a missing command.
func TestStartFailure(t *testing.T) {
	for _, c := range []struct {
		err   error
		code  int
		class error
	}{
		{&taskError{fmt.Errorf("exec: no such file or directory: %w", errdefs.ErrUnknown)}, 127, errdefs.ErrInvalidArgument},
		{&taskError{fmt.Errorf("exec: permission denied: %w", errdefs.ErrUnknown)}, 126, errdefs.ErrInvalidArgument},
		{&taskError{fmt.Errorf("dial unix /x: no such file or directory: %w", errdefs.ErrUnavailable)}, 128, errdefs.ErrUnavailable},
		{&taskError{fmt.Errorf("dial unix /x: permission denied: %w", errdefs.ErrUnavailable)}, 128, errdefs.ErrUnavailable},
		{errors.New("open /x: no such file or directory"), 128, errdefs.ErrInternal},
	} {
		if code, text, class := startFailure(c.err); code != c.code || !errors.Is(class, c.class) {
			t.Errorf("%v: code %d, class %v, %q", c.err, code, class, text)
		}
	}
}
