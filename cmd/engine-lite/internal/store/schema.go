package store

import (
	"fmt"
	"maps"

	"github.com/go-json-experiment/json/jsontext"
)

// Fields are the members of a record's JSON object.
type Fields map[string]jsontext.Value

// Step brings the fields of a record from one schema to the next. It changes nothing where it fails.
type Step func(Fields) error

// schemaField is the member that has a record's schema. Where it is missing, the schema is 0.
const schemaField = "Schema"

// NewerSchemaError says that a newer release wrote a record.
type NewerSchemaError struct {
	// Found is the record's schema, Newest the newest one that this release reads.
	Found, Newest uint
}

func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("a newer version of engine-lite wrote it, with schema %d: this version reads schema %d and older", e.Found, e.Newest)
}

// schemaOf reads the schema of a stored record.
func schemaOf(raw []byte) (uint, error) {
	var r struct{ Schema uint }
	if err := Unmarshal(raw, &r); err != nil {
		return 0, fmt.Errorf("its schema: %w", err)
	}
	return r.Schema, nil
}

// raise brings a stored record from a schema to that of this release.
func raise(raw []byte, from uint, steps []Step) ([]byte, error) {
	var fields Fields
	if err := Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	for n := from; n < uint(len(steps)); n++ {
		next := maps.Clone(fields)
		if err := steps[n](next); err != nil {
			return nil, fmt.Errorf("from schema %d to %d: %w", n, n+1, err)
		}
		fields = next
	}
	fields[schemaField] = jsontext.Value(fmt.Appendf(nil, "%d", len(steps)))
	return Marshal(fields)
}
