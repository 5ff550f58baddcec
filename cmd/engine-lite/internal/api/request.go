package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/registry"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
)

// maxBody bounds a JSON request body, in bytes.
const maxBody = 4 << 20

// maxFilter bounds the filters parameter, in bytes.
const maxFilter = 256 << 10

// request is what a handler gets.
type request struct {
	*http.Request
	version version
	// name is the part of the path that the route's wildcard stands for.
	name  string
	query url.Values
}

// flag reads a boolean parameter as Docker does: the empty value, 0, no, false and
// none are false, everything else is true.
func (r *request) flag(key string) bool { return isTrue(r.query.Get(key)) }

func isTrue(value string) bool {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// flagOr is flag, but returns otherwise for a parameter that isn't given.
func (r *request) flagOr(key string, otherwise bool) bool {
	if !r.query.Has(key) {
		return otherwise
	}
	return r.flag(key)
}

// number reads an integer parameter; nil where it isn't given.
func (r *request) number(key string) (*int, error) {
	s := r.query.Get(key)
	if s == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return nil, invalid("%v", err)
	}
	return &n, nil
}

// moment reads a parameter that is a point in time; zero where the parameter isn't
// given, or is 0.
func (r *request) moment(key string) (time.Time, error) {
	value := r.query.Get(key)
	t, ok := filters.Moment(value, time.Now())
	if !ok {
		return time.Time{}, invalid("invalid value for %q: invalid timestamp %q: invalid seconds %q: invalid syntax", key, value, value)
	}
	return t, nil
}

// size reads the parameters h and w, in characters.
func (r *request) size() (height, width uint32, err error) {
	read := func(what, value string) uint32 {
		n, e := strconv.ParseInt(value, 10, 64)
		if e == nil && (n < 0 || n > math.MaxUint32) {
			e = strconv.ErrRange
		}
		if number := (*strconv.NumError)(nil); errors.As(e, &number) {
			e = number.Err
		}
		if e != nil && err == nil {
			err = invalid("invalid resize %s %q: %v", what, value, e)
		}
		return uint32(n)
	}
	height, width = read("height", r.query.Get("h")), read("width", r.query.Get("w"))
	return height, width, err
}

// without fails with NotImplemented where one of the parameters is given. They are
// those that the engine doesn't have.
func (r *request) without(keys ...string) error {
	for _, key := range keys {
		if slices.ContainsFunc(r.query[key], isTrue) {
			return notSupported("parameter " + key)
		}
	}
	return nil
}

// filters reads the filters parameter.
func (r *request) filters() (filters.Filters, error) {
	return parseFilters(r.query.Get("filters"))
}

// parseFilters reads {"name":{"value":true}}, and the older {"name":["value"]}.
// As in Docker, the boolean of a value means nothing.
func parseFilters(s string) (filters.Filters, error) {
	f := filters.Filters{}
	if s == "" {
		return f, nil
	}
	if len(s) > maxFilter {
		return nil, invalid("filters are longer than %d bytes", maxFilter)
	}
	var byName map[string]json.RawMessage
	if err := json.Unmarshal([]byte(s), &byName); err != nil {
		return nil, invalid("invalid filter")
	}
	for name, raw := range byName {
		values, err := filterValues(raw)
		if err != nil {
			return nil, invalid("invalid filter")
		}
		f[name] = values
	}
	return f, nil
}

func filterValues(raw json.RawMessage) ([]string, error) {
	var values []string
	if err := json.Unmarshal(raw, &values); err == nil {
		return values, nil
	}
	var set map[string]bool
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, err
	}
	for v := range set {
		values = append(values, v)
	}
	slices.Sort(values)
	return values, nil
}

// decode reads a JSON body into v. Where optional is set, the body may be empty, and v
// stays as it was.
func (r *request) decode(v any, optional bool) error {
	if optional && r.ContentLength == 0 {
		return nil
	}
	if r.ContentLength == 0 && r.Header.Get("Content-Type") == "" {
		return errNoBody
	}
	if err := jsonContent(r.Header.Get("Content-Type")); err != nil {
		return err
	}
	err := decodeJSON(http.MaxBytesReader(nil, r.Body, maxBody), v)
	if optional && errors.Is(err, errNoBody) {
		return nil
	}
	return err
}

func jsonContent(contentType string) error {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil || media != "application/json" {
		return invalid("unsupported Content-Type header (%s): must be 'application/json'", contentType)
	}
	return nil
}

// errNoBody is the error for a request without the body that it needs.
var errNoBody = invalid("invalid JSON: EOF")

// decodeJSON reads one JSON document and nothing after it.
func decodeJSON(r io.Reader, v any) error {
	dec := json.NewDecoder(r)
	err := dec.Decode(v)
	if errors.Is(err, io.EOF) {
		return errNoBody
	}
	if err != nil {
		return invalid("invalid JSON: %s", jsonProblem(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return invalid("unexpected content after JSON")
	}
	return nil
}

// jsonProblem describes an error of encoding/json in words of the request, not of Go.
func jsonProblem(err error) string {
	var wrongType *json.UnmarshalTypeError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return "the body is larger than " + strconv.FormatInt(tooLarge.Limit, 10) + " bytes"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "unexpected EOF"
	case errors.As(err, &wrongType) && wrongType.Field != "":
		// Before the last dot are Go's embedded types too.
		return "field " + wrongType.Field[strings.LastIndex(wrongType.Field, ".")+1:] + " can't be a " + wrongType.Value
	case errors.As(err, &wrongType):
		return "it can't be a " + wrongType.Value
	}
	return err.Error()
}

// registryAuth reads the X-Registry-Auth header.
func (r *request) registryAuth() (registry.AuthConfig, error) {
	return parseAuth(r.Header.Get(registry.AuthHeader))
}

// parseAuth reads JSON in base64url (RFC 4648, section 5). Some clients send the other
// alphabet or no padding; both are accepted.
func parseAuth(s string) (registry.AuthConfig, error) {
	var auth registry.AuthConfig
	if s == "" {
		return auth, nil
	}
	s = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(s, "="))
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return auth, invalid("header %s is not base64url", registry.AuthHeader)
	}
	if err := json.Unmarshal(b, &auth); err != nil {
		return registry.AuthConfig{}, invalid("header %s does not carry a JSON object", registry.AuthHeader)
	}
	return auth, nil
}
