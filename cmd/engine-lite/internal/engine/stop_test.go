package engine

import (
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

func TestStopPlan(t *testing.T) {
	five, forever := 5, -1
	for name, c := range map[string]struct {
		config  record.Config
		opts    StopOptions
		sig     syscall.Signal
		timeout time.Duration
	}{
		"default": {record.Config{}, StopOptions{}, syscall.SIGTERM, defaultStopTimeout},
		"its own": {record.Config{StopSignal: "INT", StopTimeout: &five}, StopOptions{}, syscall.SIGINT,
			5 * time.Second},
		"asked": {record.Config{StopSignal: "INT", StopTimeout: &forever}, StopOptions{Signal: "1", Timeout: &five},
			syscall.SIGHUP, 5 * time.Second},
		"for ever": {record.Config{}, StopOptions{Timeout: &forever}, syscall.SIGTERM, -time.Second},
	} {
		sig, timeout, err := stopPlan(&record.Record{Config: &c.config}, c.opts)
		if err != nil || sig != c.sig || timeout != c.timeout {
			t.Errorf("%s: %v, %v, %v", name, sig, timeout, err)
		}
	}
	if _, _, err := stopPlan(&record.Record{Config: &record.Config{}},
		StopOptions{Signal: "NOPE"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("unknown signal: %v", err)
	}
}
