package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// answers are what a daemon answered, in small pieces: the value of one field of JSON, one
// text, one status. The key is "file/case #STEP piece".
type answers map[string]string

// behindName is behind the name of a case in a key.
const behindName = " #"

// add adds a text. Of JSON each field is a piece of its own; of several values of JSON,
// each has a number.
func (a answers) add(key string, text []byte) {
	values, err := decode(text)
	if err != nil || len(values) == 0 {
		a[key] = normal(string(text))
		return
	}
	for i, v := range values {
		name := key
		if len(values) > 1 {
			name += "[" + strconv.Itoa(i) + "]"
		}
		a.flatten(name, v)
	}
}

var errNoJSON = errors.New("neither an object nor a list")

// decode reads one or more objects or lists.
func decode(text []byte) ([]any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var all []any
	for {
		var v any
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		switch v.(type) {
		case map[string]any, []any:
			all = append(all, v)
		default:
			return nil, errNoJSON
		}
	}
}

func (a answers) flatten(key string, v any) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			a[key] = "{}"
		}
		for name, member := range v {
			a.flatten(key+"."+normal(name), member)
		}
	case []any:
		if len(v) == 0 {
			a[key] = "[]"
		}
		for i, member := range v {
			a.flatten(key+"["+strconv.Itoa(i)+"]", member)
		}
	case string:
		a[key] = strconv.Quote(normal(v))
	case json.Number:
		if a[key] = v.String(); changingNumber.MatchString(key) {
			a[key] = "<number>"
		}
	default: // true, false, nil
		a[key] = fmt.Sprint(v)
	}
}

// changingNumber is the key of a number that is a time, a pid or a size on the disk.
var changingNumber = regexp.MustCompile(`\.(Created|Pid|[Ss]ize|VirtualSize|LayersSize|TotalSize|SizeRw|SizeRootFs)$`)

// What differs between two runs on one daemon.
var changing = []struct {
	is *regexp.Regexp
	as string
}{
	// The machine's processors and memory nodes.
	{regexp.MustCompile(`0\.01 to \d+\.00, as there are only \d+ CPUs`), "0.01 to <n>.00, as there are only <n> CPUs"},
	{regexp.MustCompile(`available: [0-9,-]+`), "available: <list>"},
	// docker run --rm asks for a container that may be gone.
	{regexp.MustCompile(`time="[^"]*" level=error msg="error waiting for container: [^"]*"\n?`), ""},
	{regexp.MustCompile(`sha256:[0-9a-f]{64}`), "<digest>"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "<id>"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "<id>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?(Z|[+-]\d\d:?\d\d)( UTC)?)?`), "<time>"},
	{regexp.MustCompile(`/tmp/[^ "]*/(engine-lite|dockerd)/`), "<dir>/"},
	{regexp.MustCompile(`\b(Up|Exited \(\d+\)) ([A-Za-z0-9]+ )+(second|minute)s?\b`), "$1 <duration>"},
	{regexp.MustCompile(`\b(About a|Less than a|\d+) (second|minute)s?( ago)?`), "<duration>"},
}

// normal replaces what differs between two runs.
func normal(text string) string {
	for _, c := range changing {
		text = c.is.ReplaceAllString(text, c.as)
	}
	return strings.TrimRight(text, " \n")
}

func readAnswers(path string) (answers, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseAnswers(data)
}

func parseAnswers(data []byte) (answers, error) {
	a := answers{}
	return a, json.Unmarshal(data, &a)
}

func (a answers) writeTo(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	return e.Encode(a) // a map's keys are sorted
}

func (a answers) write(path string) error {
	var b bytes.Buffer
	if err := a.writeTo(&b); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// of returns the answers to some cases.
func (a answers) of(cases []testCase) answers {
	names := map[string]bool{}
	for _, c := range cases {
		names[c.name] = true
	}
	some := answers{}
	for key, value := range a {
		if name, _, _ := strings.Cut(key, behindName); names[name] {
			some[key] = value
		}
	}
	return some
}
