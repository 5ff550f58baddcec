package main

import (
	"reflect"
	"testing"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

func TestAddedRuntimes(t *testing.T) {
	for name, c := range map[string]struct {
		config config
		want   map[string]engine.OCIRuntime // nil where it is refused
	}{
		"none": {config{}, map[string]engine.OCIRuntime{}},
		"two with arguments": {config{addRuntimes: []string{"a=/bin/sh", "b=sh"},
			runtimeArgs: []string{"a=--x=y", "a=-z"}},
			map[string]engine.OCIRuntime{"a": {Path: "/bin/sh", Args: []string{"--x=y", "-z"}},
				"b": {Path: "/usr/bin/sh"}}},
		"on containerd": {config{addRuntimes: []string{"a=/bin/sh"}, containerd: "/s"},
			map[string]engine.OCIRuntime{"a": {Path: "/bin/sh"}}},
		"no path":            {config: config{addRuntimes: []string{"a"}}},
		"no name":            {config: config{addRuntimes: []string{"=/bin/sh"}}},
		"a known name":       {config: config{addRuntimes: []string{"runc=/bin/sh"}}},
		"the default's name": {config: config{addRuntimes: []string{"crun=/bin/sh"}, runtime: "crun"}},
		"a shim's name":      {config: config{addRuntimes: []string{"io.containerd.kata.v2=/bin/sh"}}},
		"twice":              {config: config{addRuntimes: []string{"a=/bin/sh", "a=/bin/sh"}}},
		"no such program":    {config: config{addRuntimes: []string{"a=/nowhere/runtime"}}},
		"argument of none":   {config: config{runtimeArgs: []string{"a=--x"}}},
		"a command":          {config: config{addRuntimes: []string{"a=/bin/sh"}, runtimeArgs: []string{"a=create"}}},
		"containerd has none": {config: config{addRuntimes: []string{"a=/bin/sh"}, runtimeArgs: []string{"a=--x"},
			containerd: "/s"}},
	} {
		got, err := c.config.addedRuntimes()
		if (err == nil) != (c.want != nil) || c.want != nil && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
