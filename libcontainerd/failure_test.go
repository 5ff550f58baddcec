package libcontainerd

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
)

// TestStartExitCode reads error texts of runc 1.1, crun 1.8 and runsc.
func TestStartExitCode(t *testing.T) {
	for said, want := range map[string]int{
		`exec: "nope": executable file not found in $PATH`:                                         127,
		`exec: "/nope": stat /nope: no such file or directory`:                                     127,
		`exec: "/file/nope": stat /file/nope: not a directory`:                                     127,
		"executable file `/nope` not found in $PATH: No such file or directory":                    127,
		"open executable: Not a directory":                                                         127,
		`starting sandbox: error finding executable "nope" in PATH [/]: no such file or directory`: 127,
		"creating process: failed to load /nope: no such file or directory":                        127,
		`exec: "/bin": permission denied`:                                                          126,
		`exec: "/bin": is a directory`:                                                             126,
		"open executable: Operation not permitted":                                                 126,
		"open executable: Permission denied":                                                       126,
		"exec /etc/garbage: exec format error":                                                     126,
		"failed to load /garbage: exec format error":                                               126,
		"chdir to cwd (\"/x\") set in config.json failed: no such file or directory":               125,
		`error mounting "/nope" to rootfs at "/x": stat /nope: no such file or directory`:          125,
		"error running hook #0: fork/exec /nope: no such file or directory":                        125,
		"open /proc/sys/net/nope: No such file or directory":                                       125,
		"applying cgroup configuration: operation not permitted":                                   125,
		"": 125,
	} {
		daemons := fmt.Errorf("OCI runtime create failed: %s: %w", said, errdefs.ErrUnknown)
		err := fmt.Errorf("cannot start container: %w", notStarted(daemons))
		if got := StartExitCode(err); got != want {
			t.Errorf("%q: %d, want %d", said, got, want)
		}
		if !errors.Is(err, daemons) || !errdefs.IsUnknown(err) {
			t.Errorf("%v hides what the daemon said", err)
		}
	}
}

func TestStartExitCodeOfOtherErrors(t *testing.T) {
	for _, err := range []error{
		nil,
		errors.New("no such file or directory"), // not the daemon's
		notStarted(fmt.Errorf("dial unix: no such file or directory: %w", errdefs.ErrUnavailable)),
		notStarted(fmt.Errorf("permission denied: %w", context.Canceled)),
		notStarted(fmt.Errorf("permission denied: %w", context.DeadlineExceeded)),
	} {
		if got := StartExitCode(err); got != ExitNotStarted {
			t.Errorf("%v: %d", err, got)
		}
	}
	if notStarted(nil) != nil {
		t.Error("no error became one")
	}
}
