package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/containerd/errdefs"
)

// A stored event is its key, the number in 8 bytes, and
//
//	checksum 4 | appended 8 | mark 8 | start 8 | time 8 | flags 1 |
//	generation | type | action | id | count | key, value ...
//
// all big-endian; generation, count and the lengths before the strings are minimal uvarints. A stored record is its
// key, kind NUL key, and checksum 4 | value. The checksum is CRC-32C over key and what follows.
const (
	checksumSize  = 4
	stampSize     = 24
	bodyMin       = 8 + 1 + 5 // time, flags, and one byte each for generation, three empty strings and no attributes
	flagRecovered = 1 << 0
	maxEventBytes = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stamp is stored with each event, to find events by time and by size.
type stamp struct {
	appended int64  // the latest wall clock at any append so far, nanoseconds since 1970
	mark     int64  // the latest Time of any event so far, nanoseconds since 1970
	start    uint64 // bytes of all events before this one, dropped ones too
}

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// seal returns the stored form of a value: its checksum, then the value.
func seal(key, value []byte) []byte {
	sealed := make([]byte, checksumSize, checksumSize+len(value))
	binary.BigEndian.PutUint32(sealed, checksum(key, value))
	return append(sealed, value...)
}

// unseal returns the value inside a stored one, without copying it. Errors are of class DataLoss.
func unseal(key, sealed []byte) ([]byte, error) {
	if len(sealed) < checksumSize {
		return nil, fmt.Errorf("value of %q is cut off: %w", key, errdefs.ErrDataLoss)
	}
	value := sealed[checksumSize:]
	if binary.BigEndian.Uint32(sealed) != checksum(key, value) {
		return nil, fmt.Errorf("checksum of %q is wrong: %w", key, errdefs.ErrDataLoss)
	}
	return value, nil
}

func eventKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint64(nil, seq)
}

// seqOf returns the number in an event's key, 0 if it is no such key.
func seqOf(key []byte) uint64 {
	if len(key) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(key)
}

func encodeStamp(b []byte, s stamp) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(s.appended))
	b = binary.BigEndian.AppendUint64(b, uint64(s.mark))
	return binary.BigEndian.AppendUint64(b, s.start)
}

// decodeStamp splits an unsealed event into its stamp and its body.
func decodeStamp(b []byte) (stamp, []byte, error) {
	if len(b) < stampSize+bodyMin {
		return stamp{}, nil, fmt.Errorf("event of %d bytes is cut off: %w", len(b), errdefs.ErrDataLoss)
	}
	s := stamp{
		appended: int64(binary.BigEndian.Uint64(b)),
		mark:     int64(binary.BigEndian.Uint64(b[8:])),
		start:    binary.BigEndian.Uint64(b[16:]),
	}
	return s, b[stampSize:], nil
}

func encodeEvent(b []byte, e Event) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(e.Time.UnixNano()))
	var flags byte
	if e.Recovered {
		flags |= flagRecovered
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, e.Generation)
	for _, s := range []string{e.Type, e.Action, e.ID} {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Attributes)))
	for _, k := range slices.Sorted(maps.Keys(e.Attributes)) {
		b = appendString(appendString(b, k), e.Attributes[k])
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeEvent is the reverse of encodeEvent. Every event has exactly one encoding: all other bytes are an error, of
// class DataLoss.
func decodeEvent(b []byte) (Event, error) {
	d := decoder{left: b}
	e := Event{Time: time.Unix(0, int64(d.uint64())).UTC()}
	flags := d.byte()
	e.Recovered = flags&flagRecovered != 0
	e.Generation = d.uvarint()
	e.Type, e.Action, e.ID = d.string(), d.string(), d.string()
	e.Attributes = d.attributes()
	if d.bad || flags&^flagRecovered != 0 || len(d.left) > 0 {
		return Event{}, fmt.Errorf("event of %d bytes is malformed: %w", len(b), errdefs.ErrDataLoss)
	}
	return e, nil
}

// decoder takes values off the front of left. After the first bad value it returns zero values only.
type decoder struct {
	left []byte
	bad  bool
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.left)) {
		d.bad = true
		return nil
	}
	taken := d.left[:n]
	d.left = d.left[n:]
	return taken
}

func (d *decoder) uint64() uint64 {
	b := d.take(8)
	if d.bad {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (d *decoder) byte() byte {
	b := d.take(1)
	if d.bad {
		return 0
	}
	return b[0]
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.left)
	minimal := n == 1 || n > 1 && d.left[n-1] != 0
	if d.bad || !minimal {
		d.bad = true
		return 0
	}
	d.left = d.left[n:]
	return v
}

func (d *decoder) string() string { return string(d.take(d.uvarint())) }

// attributes reads a map whose keys are in rising order. It returns nil for an empty map.
func (d *decoder) attributes() map[string]string {
	count := d.uvarint()
	if d.bad || count == 0 {
		return nil
	}
	if count > uint64(len(d.left))/2 { // two lengths of at least one byte each
		d.bad = true
		return nil
	}
	attributes := make(map[string]string, count)
	last := ""
	for i := range count {
		key, value := d.string(), d.string()
		if d.bad || i > 0 && key <= last {
			d.bad = true
			return nil
		}
		attributes[key] = value
		last = key
	}
	return attributes
}

// nanoseconds returns a time as nanoseconds since 1970, or the nearest that fits into 64 bits.
func nanoseconds(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}
