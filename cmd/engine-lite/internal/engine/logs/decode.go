package logs

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"
)

// Entry is one record of a log: a line with its newline, or a part of a line
// that was longer than 16 KiB.
type Entry struct {
	Stream string
	Time   time.Time
	Line   []byte
	// Attrs is a JSON object of strings, of the labels, variables and the tag that the log driver was asked for; empty
	// for none.
	Attrs json.RawMessage
}

// decoder decodes records and keeps its memory between them.
type decoder struct {
	line []byte
}

// decode reads one line of a log, with its newline; false if it is no record.
// The entry is valid until the next call and as long as line.
func (d *decoder) decode(line []byte) (Entry, bool) {
	if len(line) == 0 || line[len(line)-1] != '\n' {
		return Entry{}, false
	}
	if e, ok := d.decodeOurs(line); ok {
		return e, true
	}
	var r struct {
		Log    string          `json:"log"`
		Stream string          `json:"stream"`
		Time   time.Time       `json:"time"`
		Attrs  json.RawMessage `json:"attrs"`
	}
	if err := json.Unmarshal(line, &r); err != nil || r.Stream == "" {
		return Entry{}, false
	}
	return Entry{Stream: r.Stream, Time: r.Time, Line: []byte(r.Log), Attrs: r.Attrs}, true
}

// decodeOurs reads records in the form in which appendRecords writes them.
func (d *decoder) decodeOurs(line []byte) (e Entry, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"log":"`))
	if !ok {
		return e, false
	}
	if e.Line, rest, ok = d.unescape(rest); !ok {
		return e, false
	}
	rest, ok = bytes.CutPrefix(rest, []byte(`,"stream":"`))
	if !ok {
		return e, false
	}
	stream, rest, _ := bytes.Cut(rest, []byte(`"`))
	// In a string of the object no quote stands alone, so its end is the first brace that is followed so.
	if attrs, found := bytes.CutPrefix(rest, []byte(`,"attrs":`)); found {
		end := bytes.Index(attrs, []byte(`},"time":"`))
		if end < 0 {
			return e, false
		}
		e.Attrs, rest = attrs[:end+1], attrs[end+1:]
	}
	rest, ok = bytes.CutPrefix(rest, []byte(`,"time":"`))
	if !ok {
		return e, false
	}
	switch string(stream) {
	case Stdout:
		e.Stream = Stdout
	case Stderr:
		e.Stream = Stderr
	default:
		return e, false
	}
	stamp, rest, _ := bytes.Cut(rest, []byte(`"}`))
	if string(rest) != "\n" || e.Time.UnmarshalText(stamp) != nil {
		return e, false
	}
	return e, true
}

// unescape reads the inside of a JSON string and the quote that ends it. It
// gives up at what appendEscaped doesn't write.
func (d *decoder) unescape(s []byte) (text, rest []byte, ok bool) {
	d.line = d.line[:0]
	for {
		n := plainPrefix(s)
		n += wholePrefix(s[n:])
		d.line = append(d.line, s[:n]...)
		if s = s[n:]; len(s) == 0 {
			return nil, nil, false
		}
		switch {
		case s[0] == '"':
			return d.line, s[1:], true
		case plain[s[0]]:
			continue
		case s[0] != '\\' || len(s) < 2:
			return nil, nil, false
		}
		if n = d.unescapeOne(s[1:]); n == 0 {
			return nil, nil, false
		}
		s = s[1+n:]
	}
}

// unescapeOne reads what follows a backslash and returns how long it is, 0 if it
// isn't one of ours.
func (d *decoder) unescapeOne(s []byte) int {
	if s[0] != 'u' {
		c := unescapes[s[0]]
		if c == 0 {
			return 0
		}
		d.line = append(d.line, c)
		return 1
	}
	if len(s) < 5 {
		return 0
	}
	r := rune(0)
	for _, c := range s[1:5] {
		digit := bytes.IndexByte([]byte(hexDigits), c)
		if digit < 0 {
			return 0
		}
		r = r<<4 | rune(digit)
	}
	if r >= 0xd800 && r < 0xe000 { // half of a character
		return 0
	}
	d.line = utf8.AppendRune(d.line, r)
	return 5
}

// unescapes is the inverse of escapes.
var unescapes = func() (t [256]byte) {
	for c, short := range escapes {
		if short != 0 {
			t[short] = byte(c)
		}
	}
	return t
}()
