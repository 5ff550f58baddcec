package logs

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var moment = time.Date(2026, 2, 3, 4, 5, 6, 700, time.UTC)

func TestRecords(t *testing.T) {
	x := strings.Repeat("x", maxRecord)
	euro := strings.Repeat("x", maxRecord-1) + "€"
	for name, c := range map[string]struct {
		in    string
		last  bool
		lines []string
		rest  int
	}{
		"nothing":        {"", true, nil, 0},
		"lines":          {"a\n\nb\n", false, []string{"a\n", "\n", "b\n"}, 0},
		"rest":           {"a\nb", false, []string{"a\n"}, 1},
		"last":           {"a\nb", true, []string{"a\n", "b"}, 0},
		"long":           {x + "\n", false, []string{x, "\n"}, 0},
		"long with rest": {x + "y", false, []string{x}, 1},
		"as long as may": {x[1:] + "\n", false, []string{x[1:] + "\n"}, 0},
		"within a rune":  {euro + "\n", false, []string{x[1:], "€\n"}, 0},
		"no rune":        {x[1:] + "\x80\x80\n", false, []string{x[1:] + "\ufffd", "\ufffd\n"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			out, used := encoded(nil, []byte(c.in), Stderr, moment, c.last)
			if used != len(c.in)-c.rest {
				t.Errorf("used %d of %d", used, len(c.in))
			}
			var lines []string
			for record := range bytes.Lines(out) {
				var d decoder
				e, ok := d.decodeOurs(record)
				if !ok || e.Stream != Stderr || !e.Time.Equal(moment) {
					t.Fatalf("%q: %v %v", record, e, ok)
				}
				lines = append(lines, string(e.Line))
			}
			if strings.Join(lines, "|") != strings.Join(c.lines, "|") {
				t.Errorf("%.100q", lines)
			}
		})
	}
}

func TestRecordForm(t *testing.T) {
	out, _ := encoded(nil, []byte("tab\t\"<\n"), Stdout, moment, false)
	want := `{"log":"tab\t\"\u003c\n","stream":"stdout","time":"2026-02-03T04:05:06.0000007Z"}` + "\n"
	if string(out) != want {
		t.Errorf("%s, want %s", out, want)
	}
}

// TestRecordAttrs decodes attributes whose text looks like the end of a record.
func TestRecordAttrs(t *testing.T) {
	attrs, err := json.Marshal(map[string]string{"a": `},"time":"2026`, "b": "\"}\n"})
	must(t, err)
	out, _ := appendRecords(nil, []byte("x\n"), form{stream: Stderr, time: moment, attrs: attrs}, false, math.MaxInt64)
	var d decoder
	e, ok := d.decodeOurs(out)
	if !ok || !bytes.Equal(e.Attrs, attrs) || string(e.Line) != "x\n" || !e.Time.Equal(moment) {
		t.Errorf("%s became %q %s", out, e.Line, e.Attrs)
	}
	var theirs Entry
	other := bytes.Replace(out, []byte(`{"log"`), []byte(`{ "log"`), 1)
	if theirs, ok = d.decode(other); !ok || !bytes.Equal(theirs.Attrs, attrs) {
		t.Errorf("%s became %s", other, theirs.Attrs)
	}
	for end := range out {
		if e, ok := d.decode(out[:end]); ok {
			t.Errorf("%s became %s", out[:end], e.Line)
		}
	}
}

// TestRecordRoom ends a batch at the record that fills the room.
func TestRecordRoom(t *testing.T) {
	in := []byte("a\nb\nc\n")
	one, _ := encoded(nil, in[:2], Stdout, moment, false)
	size := int64(len(one))
	for room, want := range map[int64]int{1: 2, size: 2, size + 1: 4, 2*size + 1: 6, math.MaxInt64: 6} {
		out, used := appendRecords(nil, in, form{stream: Stdout, time: moment}, false, room)
		if used != want || len(out) != used/2*len(one) {
			t.Errorf("room %d: used %d, made %d", room, used, len(out))
		}
	}
}

// FuzzEscape compares with encoding/json, and decodes what was encoded.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "plain text of some length", "\x00\x1f \"&<>\\\x7f\x80\xff",
		"€ü\u2028\u2029\ufffd\U0001f600",
		"1234567\n", "12345678\n", "123456789\n", "\xe2\x82", "aaaaaaa\xc3\xbc<", "\xed\xa0\x80"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		want, err := json.Marshal(string(s))
		if err != nil {
			t.Fatal(err)
		}
		got := appendEscaped([]byte{'"'}, s)
		got = append(got, '"')
		if !bytes.Equal(got, want) {
			t.Fatalf("%q: %s, want %s", s, got, want)
		}
		var d decoder
		text, rest, ok := d.unescape(got[1:])
		if !ok || len(rest) != 0 || string(text) != strings.ToValidUTF8(string(s), "\ufffd") && utf8.Valid(s) {
			t.Fatalf("%s: %q, %q, %v", got, text, rest, ok)
		}
	})
}

// FuzzDecode decodes any lines. The fast decoder and encoding/json must agree wherever the
// fast one returns a result.
func FuzzDecode(f *testing.F) {
	ours, _ := encoded(nil, []byte("a \"line\" with € and \xff\x01\n"), Stdout, moment, false)
	for _, s := range []string{string(ours), "", "\n", "{}\n", "null\n", "{\"log\":\"\n",
		`{"log":"x\n","stream":"stderr","attrs":{"a":"b"},"time":"2026-02-03T04:05:06Z"}` + "\n",
		`{"log":"\ud83d\ude00\/","stream":"stdout","time":"2026-02-03T04:05:06+01:00"}` + "\n",
		`{"log":"","stream":"stdout","time":"2026-02-03T4:05:06,5Z"}` + "\n",
		`{"log":"","stream":"stdout","time":""}` + "\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var quick, slow decoder
		e, ok := quick.decodeOurs(line)
		slow.decode(line)
		if !ok {
			return
		}
		var r struct {
			Log, Stream string
			Time        time.Time
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if string(e.Line) != r.Log || e.Stream != r.Stream || !e.Time.Equal(r.Time) {
			t.Fatalf("%q: %q %s %v", line, e.Line, e.Stream, e.Time)
		}
	})
}
