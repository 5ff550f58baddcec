package engine

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

func TestParseSignal(t *testing.T) {
	for s, want := range map[string]syscall.Signal{
		"9": 9, "KILL": 9, "sigkill": 9, "SIGTERM": 15, "64": 64, "SIGRTMIN": 34, "RTMIN+3": 37, "SIGRTMAX": 64, "sigrtmax-14": 50, "hup": 1,
	} {
		if got, err := parseSignal(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "0", "65", "-1", "SIG", "SIGNOPE", "RTMIN-1", "RTMAX+1", "RTMIN3", "RTMIN+31", "RTMIN+", "SIGSIGKILL", "KILL "} {
		if got, err := parseSignal(s); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
}

func FuzzParseSignal(f *testing.F) {
	for _, s := range []string{"9", "KILL", "SIGRTMIN+15", "RTMAX-0", "-9", "99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sig, err := parseSignal(s)
		switch {
		case err != nil:
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%q: %v", s, err)
			}
		case sig < 1 || sig > 64:
			t.Errorf("%q is %d", s, sig)
		default:
			if again, err := parseSignal(strconv.Itoa(int(sig))); err != nil || again != sig {
				t.Errorf("%d: %d, %v", sig, again, err)
			}
		}
	})
}

func TestStopPlan(t *testing.T) {
	five, forever := 5, -1
	for name, c := range map[string]struct {
		config  record.Config
		opts    StopOptions
		sig     syscall.Signal
		timeout time.Duration
	}{
		"default":  {record.Config{}, StopOptions{}, syscall.SIGTERM, defaultStopTimeout},
		"its own":  {record.Config{StopSignal: "INT", StopTimeout: &five}, StopOptions{}, syscall.SIGINT, 5 * time.Second},
		"asked":    {record.Config{StopSignal: "INT", StopTimeout: &forever}, StopOptions{Signal: "1", Timeout: &five}, syscall.SIGHUP, 5 * time.Second},
		"for ever": {record.Config{}, StopOptions{Timeout: &forever}, syscall.SIGTERM, -time.Second},
	} {
		sig, timeout, err := stopPlan(&record.Record{Config: &c.config}, c.opts)
		if err != nil || sig != c.sig || timeout != c.timeout {
			t.Errorf("%s: %v, %v, %v", name, sig, timeout, err)
		}
	}
	if _, _, err := stopPlan(&record.Record{Config: &record.Config{}}, StopOptions{Signal: "NOPE"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("unknown signal: %v", err)
	}
}
