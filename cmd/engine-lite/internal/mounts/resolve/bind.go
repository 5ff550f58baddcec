package resolve

import (
	"path"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// kinds are the words that may stand behind the last colon of -v. Of each kind there may be one.
var kinds = map[string]string{
	"rw": "access", "ro": "access",
	"z": "label", "Z": "label",
	"private": "propagation", "rprivate": "propagation", "shared": "propagation", "rshared": "propagation",
	"slave": "propagation", "rslave": "propagation",
	"nocopy":     "copy",
	"consistent": "consistency", "cached": "consistency", "delegated": "consistency",
}

// defaultPropagation is that of a bind for which the user names none.
const defaultPropagation = "rprivate"

// words returns the words of a mode by their kinds; false if the mode is none. The empty mode has no words.
func words(mode string) (map[string]string, bool) {
	by := map[string]string{}
	if mode == "" {
		return by, true
	}
	for word := range strings.SplitSeq(mode, ",") {
		kind := kinds[word]
		if kind == "" || by[kind] != "" {
			return nil, false
		}
		by[kind] = word
	}
	return by, true
}

// parseBind reads the value of -v: DESTINATION, SOURCE:DESTINATION or SOURCE:DESTINATION:MODE. A source that is no
// absolute path is the name of a volume. InvalidArgument for anything else.
func parseBind(raw, driver string) (record.Mount, error) {
	invalid := classed.Errorf(errdefs.ErrInvalidArgument, "invalid volume specification: '%s'", raw)
	var req record.MountRequest
	var mode string
	switch parts := strings.Split(raw, ":"); {
	case parts[0] == "", len(parts) > 3:
		return record.Mount{}, invalid
	case len(parts) == 1:
		req.Target = raw
	case len(parts) == 2:
		if _, isMode := words(parts[1]); isMode {
			return record.Mount{}, invalid // a volume without a name has no mode
		}
		req.Source, req.Target = parts[0], parts[1]
	default:
		req.Source, req.Target, mode = parts[0], parts[1], parts[2]
	}
	by, ok := words(mode)
	if !ok {
		return record.Mount{}, invalidMode(mode)
	}
	req.Type, req.ReadOnly = record.MountVolume, by["access"] == "ro"
	if path.IsAbs(req.Source) {
		req.Type = record.MountBind
	}
	if req.Type == record.MountVolume && driver != "" || by["copy"] != "" {
		req.Volume = &record.VolumeOptions{NoCopy: by["copy"] != "", Driver: driver}
	}
	if by["propagation"] != "" {
		req.Bind = &record.BindOptions{Propagation: by["propagation"]}
	}
	if err := check(&req, nil); err != nil {
		return record.Mount{}, classed.Errorf(errdefs.ErrInvalidArgument, "%v: %v", invalid, err)
	}
	m := mountOf(&req)
	m.Mode, m.CreateSource = mode, m.Type == record.MountBind
	return m, nil
}

func invalidMode(mode string) error {
	return classed.Errorf(errdefs.ErrInvalidArgument, "invalid mode: %s", mode)
}

// parseFrom reads the value of --volumes-from: CONTAINER or CONTAINER:MODE. A mode has no propagation and no copy.
func parseFrom(from string) (ref string, readOnly bool, err error) {
	if from == "" {
		return "", false, classed.Errorf(errdefs.ErrInvalidArgument,
			"volumes-from specification cannot be an empty string")
	}
	ref, mode, _ := strings.Cut(from, ":")
	by, ok := words(mode)
	if !ok || by["propagation"] != "" || by["copy"] != "" {
		return "", false, invalidMode(mode)
	}
	return ref, by["access"] == "ro", nil
}

// nameChars are the characters of a volume's name, in the form in which Docker's error has them.
const nameChars = "[a-zA-Z0-9][a-zA-Z0-9_.-]"

var volumeName = regexp.MustCompile("^" + nameChars + "+$")

// CheckVolumeName refuses what is no name of a volume of the driver local: InvalidArgument.
func CheckVolumeName(name string) error {
	switch {
	case len(name) == 1:
		return classed.Errorf(errdefs.ErrInvalidArgument,
			"create %s: volume name is too short, names should be at least two alphanumeric characters", name)
	case !volumeName.MatchString(name):
		return classed.Errorf(errdefs.ErrInvalidArgument,
			"create %s: %q includes invalid characters for a local volume name, only %q are allowed. "+
				"If you intended to pass a host directory, use absolute path", name, name, nameChars)
	}
	return nil
}
