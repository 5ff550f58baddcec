package ocispec

import (
	"encoding/json"
	"fmt"

	"github.com/containerd/errdefs"
)

// Edit is a new value for one place in a JSON document.
type Edit struct {
	Path  []string
	Value any
}

// Amend replaces the value at a path of fields keys and leaves all else as it is, also what this build knows nothing
// of. Objects that are missing on the way are made. Errors are of class InvalidArgument.
func Amend(doc []byte, path []string, value any) ([]byte, error) {
	if len(path) == 0 {
		data, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("cannot encode a change of the spec: %v: %w", err, errdefs.ErrInvalidArgument)
		}
		return data, nil
	}
	var fields map[string]json.RawMessage
	if len(doc) > 0 {
		if err := json.Unmarshal(doc, &fields); err != nil {
			return nil, fmt.Errorf("cannot change the spec at %q: %v: %w", path[0], err, errdefs.ErrInvalidArgument)
		}
	}
	inner, err := Amend(fields[path[0]], path[1:], value)
	if err != nil {
		return nil, err
	}
	if fields == nil {
		fields = make(map[string]json.RawMessage)
	}
	fields[path[0]] = inner
	data, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the changed spec: %v: %w", err, errdefs.ErrInvalidArgument)
	}
	return data, nil
}
