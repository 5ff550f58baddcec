package request

import (
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
)

func TestCheckHealthcheck(t *testing.T) {
	for name, c := range map[string]struct {
		check container.HealthConfig
		ok    bool
	}{
		"nothing": {container.HealthConfig{}, true},
		"none":    {container.HealthConfig{Test: []string{"NONE"}}, true},
		"command": {container.HealthConfig{Test: []string{"CMD", "true"}, Interval: time.Millisecond,
			Retries: 1}, true},
		"shell":            {container.HealthConfig{Test: []string{"CMD-SHELL", "exit 0"}}, true},
		"times only":       {container.HealthConfig{Interval: time.Second}, true},
		"no command":       {container.HealthConfig{Test: []string{"CMD"}}, false},
		"no shell line":    {container.HealthConfig{Test: []string{"CMD-SHELL"}}, false},
		"unknown":          {container.HealthConfig{Test: []string{"HTTP", "x"}}, false},
		"long":             {container.HealthConfig{Test: []string{"CMD", string(make([]byte, maxTest))}}, false},
		"retries":          {container.HealthConfig{Retries: -1}, false},
		"interval":         {container.HealthConfig{Interval: time.Millisecond - 1}, false},
		"timeout":          {container.HealthConfig{Timeout: 30}, false},
		"start period":     {container.HealthConfig{StartPeriod: -time.Second}, false},
		"start interval":   {container.HealthConfig{StartInterval: 1}, false},
		"fields of a NONE": {container.HealthConfig{Test: []string{"NONE"}, Timeout: 1}, false},
	} {
		err := checkHealthcheck(&c.check)
		if (err == nil) != c.ok || (err != nil && !errdefs.IsInvalidArgument(err)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkHealthcheck(nil); err != nil {
		t.Error(err)
	}
}

func TestMergeHealthcheck(t *testing.T) {
	image := &container.HealthConfig{Test: []string{"CMD", "a"}, Interval: 1, Timeout: 2, StartPeriod: 3,
		StartInterval: 4, Retries: 5}
	for name, c := range map[string]struct{ request, image, want *container.HealthConfig }{
		"neither": {nil, nil, nil},
		"request": {&container.HealthConfig{Retries: 7}, nil, &container.HealthConfig{Retries: 7}},
		"image":   {nil, image, image},
		"none": {&container.HealthConfig{Test: []string{"NONE"}}, image,
			&container.HealthConfig{Test: []string{"NONE"}, Interval: 1, Timeout: 2, StartPeriod: 3, StartInterval: 4,
				Retries: 5}},
		"both": {&container.HealthConfig{Interval: 9, Retries: 8}, image,
			&container.HealthConfig{Test: []string{"CMD", "a"}, Interval: 9, Timeout: 2, StartPeriod: 3,
				StartInterval: 4, Retries: 8}},
	} {
		got := mergeHealthcheck(c.request, c.image)
		if (got == nil) != (c.want == nil) {
			t.Errorf("%s: %+v", name, got)
			continue
		}
		if got != nil && (!slices.Equal(got.Test, c.want.Test) || got.Interval != c.want.Interval ||
			got.Timeout != c.want.Timeout ||
			got.StartPeriod != c.want.StartPeriod || got.StartInterval != c.want.StartInterval ||
			got.Retries != c.want.Retries) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
