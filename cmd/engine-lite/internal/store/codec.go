package store

import (
	"bytes"
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// Unknown are the members of a JSON object for which a type has no field. A struct that is stored has a field of this
// type with the tag `json:",embed"`: what a newer release has written there is written again.
type Unknown = jsontext.Value

// form is the JSON of encoding/json, with two differences: names count as they are written, so that a newer release's
// name is not taken for one of ours, and the characters <, > and & stand for themselves.
//
// The package is the one that Go's next release has as encoding/json/v2. encoding/json drops the members that a type
// does not have, and takes half as long again for a typical record.
var form = json.JoinOptions(
	jsonv1.DefaultOptionsV1(), json.MatchCaseInsensitiveNames(false), jsontext.EscapeForHTML(false), jsontext.EscapeForJS(false),
)

// Marshal returns the stored form of a record.
func Marshal(v any) ([]byte, error) { return json.Marshal(v, form) }

var errNoObject = errors.New("it is not a JSON object")

// Unmarshal reads the stored form of a record, which is a JSON object. After an error, fields that could be read are
// set.
func Unmarshal(raw []byte, v any) error {
	if raw = bytes.TrimLeft(raw, " \t\r\n"); len(raw) == 0 || raw[0] != '{' {
		return errNoObject
	}
	return json.Unmarshal(raw, v, form)
}
