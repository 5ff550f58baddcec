package logs

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"time"
	"unicode/utf8"
)

// maxRecord is how many bytes of a line a record has at most, as in Docker.
const maxRecord = 16 << 10

// form is what the records of a batch have in common.
type form struct {
	stream string
	time   time.Time
	attrs  []byte // a JSON object; empty for none
}

// appendRecords encodes the lines of in, and with last set also what follows
// the last newline. A line longer than maxRecord is split, but not within a
// character. It ends after the record that fills room, in bytes. It returns how
// many bytes of in it encoded. Each line has a later time than the one before, by a nanosecond or two: who asks for what
// came since a line gets none of the lines before it again.
func appendRecords(out, in []byte, f form, last bool, room int64) (_ []byte, used int) {
	var buf [80]byte
	rest := newTail(buf[:0], f)
	for used < len(in) && int64(len(out)) < room {
		line := in[used:]
		switch end := bytes.IndexByte(line[:min(len(line), maxRecord)], '\n'); {
		case end >= 0:
			line = line[:end+1]
		case len(line) >= maxRecord:
			line = wholeRunes(line[:maxRecord])
		case !last:
			return out, used
		}
		out = append(out, `{"log":"`...)
		out = appendEscaped(out, line)
		out = append(out, rest.text...)
		if line[len(line)-1] == '\n' { // the parts of a line have one time, as in Docker
			rest.advance()
		}
		used += len(line)
	}
	return out, used
}

// tail is what follows a line in its record.
type tail struct {
	text  []byte
	time  time.Time
	head  int // how much of the text is before the time
	nanos int // where the nine digits of the nanoseconds begin; 0 where the time may have fewer
}

func newTail(buf []byte, f form) tail {
	buf = append(buf, `","stream":"`...)
	buf = append(buf, f.stream...)
	buf = append(buf, '"')
	if len(f.attrs) > 0 {
		buf = append(buf, `,"attrs":`...)
		buf = append(buf, f.attrs...)
	}
	buf = append(buf, `,"time":"`...)
	t := tail{text: buf, time: f.time.UTC(), head: len(buf)}
	t.write(time.RFC3339Nano)
	return t
}

func (t *tail) write(layout string) {
	t.text = t.time.AppendFormat(t.text[:t.head], layout)
	t.text = append(t.text, "\"}\n"...)
}

// advance changes the time to the next nanosecond. One that ends in 0 is passed over, since RFC3339Nano leaves out zeros at
// the end.
func (t *tail) advance() {
	if t.nanos > 0 {
		digits := t.text[t.nanos : t.nanos+9]
		if digits[8]++; digits[8] <= '9' {
			return
		}
		digits[8] = '1'
		for i := 7; i >= 0; i-- {
			if digits[i]++; digits[i] <= '9' {
				return
			}
			digits[i] = '0'
		}
		t.time = t.time.Truncate(time.Second).Add(time.Second)
	}
	t.time = t.time.Add(1)
	if t.time.Nanosecond()%10 == 0 {
		t.time = t.time.Add(1)
	}
	t.write("2006-01-02T15:04:05.000000000Z07:00")
	t.nanos = t.head + len("2006-01-02T15:04:05.")
}

// wholeRunes leaves out a character at the end that isn't complete.
func wholeRunes(s []byte) []byte {
	for i := len(s) - 1; i > len(s)-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			if !utf8.FullRune(s[i:]) {
				return s[:i]
			}
			break
		}
	}
	return s
}

// plain marks the bytes that a JSON string may have as they are, by the rules
// of encoding/json with HTML's characters escaped.
var plain = func() (t [256]bool) {
	for c := range utf8.RuneSelf {
		t[c] = c >= ' ' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return t
}()

// escapes are the short forms of encoding/json.
var escapes = [utf8.RuneSelf]byte{'"': '"', '\\': '\\', '\n': 'n', '\t': 't', '\r': 'r', '\b': 'b', '\f': 'f'}

const hexDigits = "0123456789abcdef"

// appendEscaped appends s as the inside of a JSON string, as encoding/json
// does: invalid UTF-8 becomes the replacement character.
func appendEscaped(out, s []byte) []byte {
	for {
		n := plainPrefix(s)
		out = append(out, s[:n]...)
		if s = s[n:]; len(s) == 0 {
			return out
		}
		if s[0] < utf8.RuneSelf {
			out = appendEscape(out, s[0])
			s = s[1:]
			continue
		}
		n = wholePrefix(s)
		out = append(out, s[:n]...)
		if s = s[n:]; len(s) > 0 && s[0] >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(s)
			out = append(out, '\\', 'u', hexDigits[r>>12&0xf], hexDigits[r>>8&0xf], hexDigits[r>>4&0xf], hexDigits[r&0xf])
			s = s[size:]
		}
	}
}

// plainPrefix is how many bytes at the beginning of s are plain. It looks at
// eight at once: in each mask the lowest of the high bits that are set belongs
// to the first byte that is meant (those above it may be wrong).
func plainPrefix(s []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		x := binary.LittleEndian.Uint64(s[i:])
		markup := x&^(0x02*ones) ^ '<'*ones // zero for < and >
		quote := x&^(0x04*ones) ^ '"'*ones  // zero for " and &
		escape := x ^ '\\'*ones             // zero for the backslash
		hit := (x - ' '*ones) | (markup - ones) | (quote - ones) | (escape - ones)
		if hit = (hit&^x | x) & highs; hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	for ; i < len(s) && plain[s[i]]; i++ {
	}
	return i
}

// wholePrefix is how many bytes at the beginning of s are valid characters
// beyond ASCII that JSON may have as they are.
func wholePrefix(s []byte) int {
	i := 0
	for i < len(s) && s[i] >= utf8.RuneSelf {
		r, size := utf8.DecodeRune(s[i:])
		if r == utf8.RuneError && size == 1 || r == '\u2028' || r == '\u2029' {
			break
		}
		i += size
	}
	return i
}

func appendEscape(out []byte, c byte) []byte {
	if short := escapes[c]; short != 0 {
		return append(out, '\\', short)
	}
	return append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}
