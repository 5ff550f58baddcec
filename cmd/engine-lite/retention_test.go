package main

import (
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

func TestRetention(t *testing.T) {
	for name, c := range map[string]struct {
		args  []string
		age   time.Duration
		bytes int64 // 0: refused
	}{
		"default":          {nil, 168 * time.Hour, 64 << 20},
		"set":              {[]string{"--events-max-age", "90m", "--events-max-size", "2GiB"}, 90 * time.Minute, 2 << 30},
		"bounds":           {[]string{"--events-max-age", "1m", "--events-max-size", "1048576"}, time.Minute, 1 << 20},
		"too young":        {[]string{"--events-max-age", "59s"}, 0, 0},
		"negative age":     {[]string{"--events-max-age", "-1h"}, 0, 0},
		"too small":        {[]string{"--events-max-size", "1023KiB"}, 0, 0},
		"negative size":    {[]string{"--events-max-size", "-1"}, 0, 0},
		"too large":        {[]string{"--events-max-size", "2TiB"}, 0, 0},
		"beyond 64 bits":   {[]string{"--events-max-size", "99999999999PiB"}, 0, 0},
		"not a size":       {[]string{"--events-max-size", "much"}, 0, 0},
		"no size":          {[]string{"--events-max-size", ""}, 0, 0},
		"no unit of bytes": {[]string{"--events-max-size", "64furlongs"}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var got config
			cmd := got.command()
			if err := cmd.ParseFlags(c.args); err != nil {
				t.Fatal(err)
			}
			err := got.events.check()
			switch {
			case c.bytes == 0 && !errdefs.IsInvalidArgument(err):
				t.Errorf("got %+v, %v", got.events, err)
			case c.bytes != 0 && (err != nil || got.events.maxAge != c.age || got.events.maxBytes != c.bytes):
				t.Errorf("got %+v, %v", got.events, err)
			}
		})
	}
}
