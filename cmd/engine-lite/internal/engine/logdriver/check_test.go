package logdriver

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestCheck(t *testing.T) {
	type options = map[string]string
	for name, c := range map[string]struct {
		driver  string
		options options
		want    string
	}{
		"default":        {"", nil, ""},
		"default option": {"", options{"max-size": "1m"}, ""},
		"all options": {Local, options{
			"max-size": "x", "max-file": "x", "compress": "x", "labels": "a", "labels-regex": "[", "env": "a", "env-regex": "[",
			"tag": "{{", "mode": "non-blocking", "max-buffer-size": "4m", "cache-disabled": "true", "cache-max-size": "1m",
		}, ""},
		"json-file":      {JSONFile, options{"nonsense": "1", "another": "2"}, "unknown log opt 'another' for json-file log driver"},
		"local":          {Local, options{"nonsense": "1"}, "unknown log opt 'nonsense' for log driver local"},
		"none":           {None, options{"nonsense": "1", "mode": "nonsense"}, ""},
		"driver":         {"syslog", nil, "logger: no log driver named 'syslog' is registered"},
		"driver, option": {"journald", options{"tag": "x"}, "logger: no log driver named 'journald' is registered"},
		"plugin":         {"a/b:c", nil, `error looking up logging plugin a/b:c: plugin "a/b:c" not found`},
		"mode":           {"syslog", options{"mode": "fast"}, "logger: logging mode not supported: fast"},
		"blocking":       {JSONFile, options{"mode": "blocking"}, ""},
		"buffer": {JSONFile, options{"max-buffer-size": "4m"},
			"logger: max-buffer-size option is only supported with 'mode=non-blocking'"},
		"buffer's size": {JSONFile, options{"mode": "non-blocking", "max-buffer-size": "x"},
			"error parsing option max-buffer-size: invalid size: 'x'"},
		"cache": {JSONFile, options{"cache-disabled": "x"}, "invalid value for option cache-disabled: x"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(c.driver, c.options)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (!errdefs.IsInvalidArgument(err) || !strings.HasPrefix(err.Error(), c.want)):
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}
