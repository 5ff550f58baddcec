// Package signals reads the signals that Docker's users name.
package signals

import (
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// Parse reads a signal's number or its name, with or without SIG. InvalidArgument where there is none.
func Parse(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n == 0 {
			return 0, classed.Errorf(errdefs.ErrInvalidArgument, "invalid signal: %s", s)
		}
		if n < 1 || n > 64 {
			return 0, classed.Errorf(errdefs.ErrInvalidArgument, "the linux daemon does not support signal %d", n)
		}
		return syscall.Signal(n), nil
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	if rt, ok := realtimeSignal(name); ok {
		return rt, nil
	}
	return 0, classed.Errorf(errdefs.ErrInvalidArgument, "invalid signal: %s", s)
}

// realtimeSignal reads SIGRTMIN+n and SIGRTMAX-n, whose ends the C library
// sets at 34 and 64 (signal(7)).
func realtimeSignal(name string) (syscall.Signal, bool) {
	for prefix, base := range map[string]int{"SIGRTMIN": 34, "SIGRTMAX": 64} {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		offset := 0
		if rest != "" {
			var err error
			if offset, err = strconv.Atoi(rest); err != nil || (rest[0] != '+' && rest[0] != '-') {
				return 0, false
			}
		}
		if n := base + offset; n >= 34 && n <= 64 {
			return syscall.Signal(n), true
		}
	}
	return 0, false
}
