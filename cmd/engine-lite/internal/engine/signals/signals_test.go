package signals

import (
	"strconv"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
)

func TestParse(t *testing.T) {
	for s, want := range map[string]syscall.Signal{
		"9": 9, "KILL": 9, "sigkill": 9, "SIGTERM": 15, "64": 64, "SIGRTMIN": 34, "RTMIN+3": 37, "SIGRTMAX": 64,
		"sigrtmax-14": 50, "hup": 1,
	} {
		if got, err := Parse(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "0", "65", "-1", "SIG", "SIGNOPE", "RTMIN-1", "RTMAX+1", "RTMIN3", "RTMIN+31",
		"RTMIN+", "SIGSIGKILL", "KILL "} {
		if got, err := Parse(s); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"9", "KILL", "SIGRTMIN+15", "RTMAX-0", "-9", "99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sig, err := Parse(s)
		switch {
		case err != nil:
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%q: %v", s, err)
			}
		case sig < 1 || sig > 64:
			t.Errorf("%q is %d", s, sig)
		default:
			if again, err := Parse(strconv.Itoa(int(sig))); err != nil || again != sig {
				t.Errorf("%d: %d, %v", sig, again, err)
			}
		}
	})
}
