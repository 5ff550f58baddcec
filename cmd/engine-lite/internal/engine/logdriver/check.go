// Package logdriver knows Docker's log drivers and their options: what a request may ask for, and what that means for the
// log of a run. It reads and writes no log.
//
// As in dockerd, a create looks at the names of the options, and a start at their values. So a container can be there
// whose log cannot be opened, and each of its starts fails with the reason.
package logdriver

import (
	"maps"
	"slices"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// The log drivers that the engine has.
const (
	JSONFile = "json-file"
	Local    = "local"
	None     = "none"
)

// others are the drivers that dockerd has besides. Any other name is that of a plugin.
var others = []string{"awslogs", "fluentd", "gcplogs", "gelf", "journald", "splunk", "syslog"}

// fileOptions are the options of both drivers that write files.
var fileOptions = []string{"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag"}

// commonOptions are those of all drivers. Those of the cache have an effect only with drivers that cannot read their own
// logs, none of which is here.
var commonOptions = []string{
	"mode", "max-buffer-size", "cache-disabled",
	"cache-max-size", "cache-max-file", "cache-compress", "cache-labels", "cache-labels-regex", "cache-env", "cache-env-regex",
	"cache-tag",
}

// nonBlocking is the mode in which a process does not wait for its log. Its buffer has a size in bytes.
const (
	nonBlocking   = "non-blocking"
	defaultBuffer = 1e6
)

// Check refuses a driver that the engine does not have, and options that the driver does not have, in dockerd's words. An
// empty driver is json-file. Errors: InvalidArgument.
func Check(driver string, options map[string]string) error {
	if driver == None { // it passes over all options
		return nil
	}
	if err := checkMode(options); err != nil {
		return err
	}
	if v := options["cache-disabled"]; v != "" {
		if _, err := strconv.ParseBool(v); err != nil {
			return invalid("invalid value for option cache-disabled: %s", v)
		}
	}
	switch {
	case slices.Contains(others, driver):
		return invalid("logger: no log driver named '%s' is registered", driver)
	case driver != "" && driver != JSONFile && driver != Local:
		return invalid("error looking up logging plugin %s: plugin %q not found", driver, driver)
	}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		switch {
		case slices.Contains(fileOptions, name), slices.Contains(commonOptions, name):
		case driver == Local:
			return invalid("unknown log opt '%s' for log driver local", name)
		default:
			return invalid("unknown log opt '%s' for json-file log driver", name)
		}
	}
	return nil
}

func checkMode(options map[string]string) error {
	mode := options["mode"]
	switch mode {
	case "", "blocking", nonBlocking:
	default:
		return invalid("logger: logging mode not supported: %s", mode)
	}
	size, ok := options["max-buffer-size"]
	if !ok {
		return nil
	}
	if mode != nonBlocking {
		return invalid("logger: max-buffer-size option is only supported with 'mode=%s'", nonBlocking)
	}
	if _, err := units.RAMInBytes(size); err != nil {
		return invalid("error parsing option max-buffer-size: %v", err)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return classed.Errorf(errdefs.ErrInvalidArgument, format, args...)
}
