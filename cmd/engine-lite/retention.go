package main

import (
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"
	"github.com/spf13/pflag"
)

// retention says how long events are kept: what exceeds either bound goes.
type retention struct {
	maxAge   time.Duration
	size     string
	maxBytes int64
}

const (
	minEventsAge  = time.Minute
	minEventsSize = 1 << 20
	maxEventsSize = 1 << 40
)

func (r *retention) flags(f *pflag.FlagSet) {
	f.DurationVar(&r.maxAge, "events-max-age", 7*24*time.Hour,
		"how long events, and the exits of removed containers, are kept: a `duration`")
	f.StringVar(&r.size, "events-max-size", "64MiB",
		"how many `bytes` of events are kept, with a unit such as MiB or GiB")
}

func (r *retention) check() error {
	if r.maxAge < minEventsAge {
		return fmt.Errorf("--events-max-age is %s and has to be %s at least: %w",
			r.maxAge, minEventsAge, errdefs.ErrInvalidArgument)
	}
	var err error
	if r.maxBytes, err = units.RAMInBytes(r.size); err != nil {
		return fmt.Errorf("--events-max-size is %q and has to be a number with a unit, such as 64MiB: %w",
			r.size, errdefs.ErrInvalidArgument)
	}
	if r.maxBytes < minEventsSize || r.maxBytes > maxEventsSize {
		return fmt.Errorf("--events-max-size is %s and has to be between %s and %s: %w", r.size,
			units.BytesSize(minEventsSize), units.BytesSize(maxEventsSize), errdefs.ErrInvalidArgument)
	}
	return nil
}
