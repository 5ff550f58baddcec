package stdio

import (
	"bytes"
	"io"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// defaultDetachKeys are ctrl-p, ctrl-q.
var defaultDetachKeys = []byte{16, 17}

// ParseDetachKeys reads Docker's notation: keys with commas between, each one
// a character or "ctrl-" and a small letter or one of @ [ \ ] ^ _.
func ParseDetachKeys(s string) ([]byte, error) {
	if s == "" {
		return defaultDetachKeys, nil
	}
	var keys []byte
	for key := range strings.SplitSeq(s, ",") {
		b, ok := detachKey(key)
		if !ok {
			return nil, classed.Errorf(errdefs.ErrInvalidArgument, "Invalid detach keys (%s) provided", s)
		}
		keys = append(keys, b)
	}
	return keys, nil
}

func detachKey(key string) (byte, bool) {
	if len(key) == 1 {
		return key[0], true
	}
	name, ok := strings.CutPrefix(key, "ctrl-")
	if !ok || len(name) != 1 {
		return 0, false
	}
	switch c := name[0]; {
	case c >= 'a' && c <= 'z':
		return c - 'a' + 1, true
	case c == '@':
		return 0, true
	case c >= '[' && c <= '_':
		return c - '[' + 27, true
	}
	return 0, false
}

// detachReader ends with ErrDetached when the keys were read one after the
// other. Keys that turn out to be no such sequence are passed on. The escape proxy of
// github.com/moby/term does not notice a sequence that begins within a failed one
// (ctrl-p, ctrl-p, ctrl-q), and drops the keys that it holds back when the input ends.
type detachReader struct {
	r    io.Reader
	keys []byte
	seen int    // how many of the keys came so far
	rest []byte // read and not yet passed on
	err  error
}

func (d *detachReader) Read(p []byte) (int, error) {
	for len(d.rest) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		buf := make([]byte, max(len(p), 1))
		n, err := d.r.Read(buf)
		d.err = err
		d.scan(buf[:n])
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// scan takes input in and holds back the beginning of a sequence.
func (d *detachReader) scan(in []byte) {
	for _, b := range in {
		for d.seen > 0 && b != d.keys[d.seen] {
			d.giveBack()
		}
		if b != d.keys[d.seen] {
			d.rest = append(d.rest, b)
			continue
		}
		if d.seen++; d.seen == len(d.keys) {
			d.err = ErrDetached
			return
		}
	}
	if d.err != nil {
		d.rest = append(d.rest, d.keys[:d.seen]...)
		d.seen = 0
	}
}

// giveBack passes on what can't be the beginning of a sequence any more: all
// that was seen, but for the longest end of it that begins another one.
func (d *detachReader) giveBack() {
	from := 1
	for !bytes.HasPrefix(d.keys, d.keys[from:d.seen]) {
		from++
	}
	d.rest = append(d.rest, d.keys[:from]...)
	d.seen -= from
}
