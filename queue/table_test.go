package queue

import (
	"maps"
	"testing"
)

// hash returns one of few hashes, so that keys collide, or of many.
func (r *tableRun) hash(key byte) uint64 {
	if r.collide {
		return uint64(key % 3)
	}
	return uint64(key) * 0x9e3779b97f4a7c15 >> 7
}

// A tableRun does the same to a table and to a map.
type tableRun struct {
	*testing.T
	table   table[byte, int]
	lines   map[byte]*line[byte, int]
	collide bool
}

func (r *tableRun) toggle(key byte) {
	hash := r.hash(key)
	l := r.table.find(key, hash)
	if l != r.lines[key] {
		r.Fatalf("key %d: found %p, want %p", key, l, r.lines[key])
	}
	if l == nil {
		l = &line[byte, int]{key: key, hash: hash}
		r.table.add(l)
		r.lines[key] = l
	} else {
		r.table.remove(l)
		delete(r.lines, key)
	}
}

// check finds every key, and expects the form that the table's comment tells of.
func (r *tableRun) check() {
	t := &r.table
	found := make(map[byte]*line[byte, int])
	for key := range 256 {
		if l := t.find(byte(key), r.hash(byte(key))); l != nil {
			found[byte(key)] = l
		}
	}
	if !maps.Equal(found, r.lines) || t.keys != len(r.lines) {
		r.Fatalf("table with %d keys finds %v, want %v", t.keys, found, r.lines)
	}
	if t.keys > t.buckets {
		r.Fatalf("%d keys in %d buckets", t.keys, t.buckets)
	}
	if t.buckets > 0 && (t.mask&(t.mask+1) != 0 || t.mask >= uint64(t.buckets) || uint64(t.buckets) > 2*(t.mask+1)) {
		r.Fatalf("mask %#x with %d buckets", t.mask, t.buckets)
	}
	if want := (t.buckets + segmentSize - 1) / segmentSize; len(t.segments) != want {
		r.Fatalf("%d segments for %d buckets", len(t.segments), t.buckets)
	}
}

// FuzzTable takes a byte as a key to add or remove, and every seventh one as what to keep when shrinking.
func FuzzTable(f *testing.F) {
	all := make([]byte, 0, 1024)
	for i := range cap(all) {
		all = append(all, byte(i*37))
	}
	f.Add([]byte("abcdefgaabbccddee"), false)
	f.Add(all, false)
	f.Add(all, true)
	f.Fuzz(func(t *testing.T, input []byte, collide bool) {
		r := &tableRun{T: t, lines: make(map[byte]*line[byte, int]), collide: collide}
		for i, b := range input {
			if i%7 == 6 {
				r.table.shrink(1+int(b%16), max(r.table.keys, int(b)/2))
			} else {
				r.toggle(b)
			}
			if i%16 == 0 {
				r.check()
			}
		}
		r.check()
		for key := range r.lines {
			r.toggle(key)
		}
		r.table.shrink(0, 0)
		if r.table.buckets != 0 || r.table.segments != nil {
			t.Errorf("an empty table keeps %d buckets", r.table.buckets)
		}
	})
}

// A table gives back its buckets step by step while it has keys.
func TestTableShrinks(t *testing.T) {
	var many table[int, int]
	lines := make([]*line[int, int], 10_000)
	for i := range lines {
		lines[i] = &line[int, int]{key: i, hash: uint64(i) * 0x9e3779b97f4a7c15}
		many.add(lines[i])
	}
	for _, l := range lines[10:] {
		many.remove(l)
	}
	for steps := 0; many.buckets > 40; steps++ {
		if steps > 10 {
			t.Fatalf("%d buckets after %d steps", many.buckets, steps)
		}
		many.shrink(1000, 40)
	}
	for _, l := range lines[:10] {
		if many.find(l.key, l.hash) != l {
			t.Errorf("key %d is lost", l.key)
		}
	}
	if len(many.segments) != 1 {
		t.Errorf("%d segments for %d buckets", len(many.segments), many.buckets)
	}
}
