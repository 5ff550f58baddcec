package queue

const (
	segmentBits = 8
	segmentSize = 1 << segmentBits // buckets
)

// A table finds the line of a key. It is a hash table that grows and shrinks by one bucket at a time (linear hashing): the built-in map
// would look up every key three times, with mu held, for an item that finds its key idle (find, add, delete) and never give
// memory back, and a table that doubles would make one Append wait while all lines move.
//
// Of its buckets, the first mask+1 are addressed by the low bits of the hash; each of the others holds what one more bit of the
// hash moved out of a bucket before them.
type table[K comparable, V any] struct {
	segments []*[segmentSize]*line[K, V]
	buckets  int
	mask     uint64 // a power of two minus one; mask < buckets <= 2*(mask+1), or all fields are zero
	keys     int
}

// bucket returns the head of the list of lines with this hash. The table must have a bucket.
func (t *table[K, V]) bucket(hash uint64) **line[K, V] {
	i := hash & (2*t.mask + 1)
	if i >= uint64(t.buckets) {
		i = hash & t.mask
	}
	return &t.segments[i>>segmentBits][i%segmentSize]
}

// find returns the line of key, or nil.
func (t *table[K, V]) find(key K, hash uint64) *line[K, V] {
	if t.keys == 0 {
		return nil
	}
	l := *t.bucket(hash)
	for l != nil && (l.hash != hash || l.key != key) {
		l = l.beside
	}
	return l
}

// add adds the line of a key that the table doesn't have.
func (t *table[K, V]) add(l *line[K, V]) {
	if t.keys >= t.buckets {
		t.grow()
	}
	b := t.bucket(l.hash)
	l.beside = *b
	*b = l
	t.keys++
}

// remove removes a line of the table.
func (t *table[K, V]) remove(l *line[K, V]) {
	b := t.bucket(l.hash)
	for *b != l {
		b = &(*b).beside
	}
	*b = l.beside
	l.beside = nil
	t.keys--
}

// grow adds a bucket, which takes its part of the lines of the one that it splits.
func (t *table[K, V]) grow() {
	if t.buckets%segmentSize == 0 {
		t.segments = append(t.segments, new([segmentSize]*line[K, V]))
	}
	if t.buckets == 0 {
		t.buckets = 1
		return
	}
	if uint64(t.buckets) > 2*t.mask+1 {
		t.mask = 2*t.mask + 1
	}
	from := t.bucket(uint64(t.buckets) & t.mask)
	t.buckets++
	lines := *from
	*from = nil
	for lines != nil {
		l := lines
		lines = l.beside
		b := t.bucket(l.hash)
		l.beside = *b
		*b = l
	}
}

// shrink removes up to n buckets as long as there are more than the given number, and all of them if there are no keys.
func (t *table[K, V]) shrink(n, keep int) {
	if t.keys == 0 && keep == 0 {
		*t = table[K, V]{}
		return
	}
	for ; n > 0 && t.buckets > max(keep, 1); n-- {
		t.shrinkByOne()
	}
}

// shrinkByOne puts the lines of the last bucket back where they were before it was added.
func (t *table[K, V]) shrinkByOne() {
	last := uint64(t.buckets - 1)
	b := &t.segments[last>>segmentBits][last%segmentSize]
	lines := *b
	*b = nil
	t.buckets--
	if last%segmentSize == 0 {
		t.segments[last>>segmentBits] = nil
		t.segments = t.segments[:last>>segmentBits]
	}
	if last == t.mask && last > 0 {
		t.mask /= 2
	}
	for lines != nil {
		l := lines
		lines = l.beside
		b := t.bucket(l.hash)
		l.beside = *b
		*b = l
	}
}
