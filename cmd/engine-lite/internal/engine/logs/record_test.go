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
				if !ok || e.Stream != Stderr || e.Time.Sub(moment).Abs() > time.Microsecond {
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

// TestRecordTimes has lines that were read at once: each is later than the one before, in the form of RFC3339Nano, over
// the end of a second too. The parts of a long line have one time.
func TestRecordTimes(t *testing.T) {
	begin := time.Date(2026, 12, 31, 23, 59, 59, 999_999_900, time.UTC)
	in := strings.Repeat("x\n", 500) + strings.Repeat("y", 2*maxRecord) + "\n"
	out, _ := encoded(nil, []byte(in), Stdout, begin, false)
	var d decoder
	var last Entry
	n := 0
	for line := range bytes.Lines(out) {
		e, ok := d.decodeOurs(line)
		if !ok || !bytes.Contains(line, []byte(`"`+e.Time.Format(time.RFC3339Nano)+`"`)) {
			t.Fatalf("record %d is %s", n, line)
		}
		part := n > 0 && !bytes.HasSuffix(last.Line, []byte("\n"))
		if n == 0 && !e.Time.Equal(begin) || n > 0 && !part && !e.Time.After(last.Time) || part && !e.Time.Equal(last.Time) {
			t.Fatalf("record %d is of %s, the one before of %s", n, e.Time, last.Time)
		}
		last = Entry{Line: bytes.Clone(e.Line), Time: e.Time}
		n++
	}
	if n != 503 || last.Time.Sub(begin) > 2*time.Microsecond {
		t.Errorf("%d records, the last one of %s", n, last.Time)
	}
}

// TestRecordRoom ends a batch at the record that fills the room.
func TestRecordRoom(t *testing.T) {
	in := []byte("a\nb\nc\n")
	one, _ := encoded(nil, in[:2], Stdout, moment, false)
	two, _ := encoded(nil, in[:4], Stdout, moment, false)
	size, both := int64(len(one)), int64(len(two))
	for room, want := range map[int64]int{1: 2, size: 2, size + 1: 4, both: 4, both + 1: 6, math.MaxInt64: 6} {
		out, used := appendRecords(nil, in, form{stream: Stdout, time: moment}, false, room)
		if whole, _ := encoded(nil, in[:want], Stdout, moment, false); used != want || !bytes.Equal(out, whole) {
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
