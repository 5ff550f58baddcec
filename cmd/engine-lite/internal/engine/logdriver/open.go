package logdriver

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/docker/go-units"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logs"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// Path is where the log of a container is whose files are in dir; empty where nothing is logged.
func Path(r *record.Record, dir string) string {
	switch r.HostConfig.LogConfig.Type {
	case None:
		return ""
	case Local:
		return filepath.Join(dir, "local-logs", "container.log")
	default:
		return filepath.Join(dir, r.ID+"-json.log")
	}
}

// ShownPath is the path that inspect tells. As in dockerd, that of the driver local is nobody else's affair.
func ShownPath(r *record.Record, dir string) string {
	if r.HostConfig.LogConfig.Type == Local {
		return ""
	}
	return Path(r, dir)
}

// Open says how a run of the container is logged. The errors have dockerd's words. The path is right also with an error.
func Open(r *record.Record, dir string) (logs.Log, error) {
	l := logs.Log{Path: Path(r, dir)}
	if l.Path == "" {
		return l, nil
	}
	options := r.HostConfig.LogConfig.Config
	limits := jsonFileLimits
	if r.HostConfig.LogConfig.Type == Local {
		limits = localLimits
	}
	limited, err := limits(l, options)
	if err != nil {
		return l, err
	}
	limited.Attrs, err = attributes(r)
	if err != nil {
		return l, err
	}
	limited.Buffer, err = buffer(options)
	if err != nil {
		return l, err
	}
	return limited, nil
}

// buffer is how much of a run's output waits for its log, in bytes; 0 where the process waits.
func buffer(options map[string]string) (int64, error) {
	if options["mode"] != nonBlocking {
		return 0, nil
	}
	size, ok := options["max-buffer-size"]
	if !ok {
		return defaultBuffer, nil
	}
	n, err := units.RAMInBytes(size)
	return max(n, 1), err
}

func jsonFileLimits(l logs.Log, options map[string]string) (_ logs.Log, err error) {
	l.MaxFiles = 1
	if v, ok := options["max-size"]; ok {
		if l.MaxSize, err = units.FromHumanSize(v); err != nil {
			return l, err
		}
		if l.MaxSize <= 0 {
			return l, errors.New("max-size must be a positive number")
		}
	}
	if v, ok := options["max-file"]; ok {
		if l.MaxFiles, err = strconv.Atoi(v); err != nil {
			return l, err
		}
		if l.MaxFiles < 1 {
			return l, errors.New("max-file cannot be less than 1")
		}
	}
	if v, ok := options["compress"]; ok {
		if l.Compress, err = strconv.ParseBool(v); err != nil {
			return l, err
		}
		if l.Compress && (l.MaxFiles == 1 || l.MaxSize == 0) {
			return l, errors.New("compress cannot be true when max-file is less than 2 or max-size is not set")
		}
	}
	return l, nil
}

// localLimits differ from those of json-file: there is a bound from the start.
func localLimits(l logs.Log, options map[string]string) (_ logs.Log, err error) {
	l.MaxSize, l.MaxFiles, l.Compress = 20<<20, 5, true
	if v, ok := options["max-size"]; ok {
		if l.MaxSize, err = units.FromHumanSize(v); err != nil {
			return l, fmt.Errorf("invalid value for max-size: %s: %w", v, err)
		}
		l.MaxSize = max(l.MaxSize, 1) // with 0 each record has a file of its own
	}
	if v, ok := options["max-file"]; ok {
		if l.MaxFiles, err = strconv.Atoi(v); err != nil {
			return l, fmt.Errorf("invalid value for max-file: %s: %w", v, err)
		}
	}
	if v, ok := options["compress"]; ok {
		if l.Compress, err = strconv.ParseBool(v); err != nil {
			return l, fmt.Errorf("invalid boolean value for compress: %w", err)
		}
	}
	switch {
	case l.MaxFiles < 0:
		return l, errors.New("max-file must not be negative")
	case l.Compress && l.MaxFiles <= 1:
		return l, errors.New("compression cannot be enabled when max file count is 1")
	}
	return l, nil
}

// attributes is the JSON object of what each record has besides; nil for nothing.
func attributes(r *record.Record) ([]byte, error) {
	found, err := extraAttributes(r)
	if err != nil {
		return nil, err
	}
	tag, err := expandTag(r)
	if err != nil {
		return nil, err
	}
	if tag != "" {
		found["tag"] = tag
	}
	if len(found) == 0 {
		return nil, nil
	}
	return json.Marshal(found)
}
