package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"github.com/containerd/errdefs"
)

// bbolt trusts its pages, so the pages of a file are checked before bbolt opens it. bbolt's own check does not do, by
// these facts (bbolt 1.5, 580 files with the damage of TestDamagedAnywhere, of which 425 have damaged pages):
//
//   - This check refuses all 425. bbolt.Open, Tx.Check and our checksums together refuse 397, and open 20 of which all
//     can be read. They end the program at 8: Check reads the mapping in a goroutine of its own, where no one can catch
//     a fault.
//   - A page that names itself as its child makes Tx.Check and cursors loop for ever. A wrong length of the list of
//     free pages makes bbolt.Open allocate until the program ends.
//   - bbolt.Open and a commit accept a free page that is in use: a later commit overwrites that page.
//   - Tx.Check must not run beside commits. [Journal.Check] does.
//
// Numbers in the file are in the byte order of the machine:
//
//	page     id 8 | flags 2 | count 2 | overflow 4 | elements of 16 ... | keys and values
//	branch   position 4 | key size 4 | child 8
//	leaf     flags 4 | position 4 | key size 4 | value size 4         positions count from the element
//	free     count 8 if count is 0xFFFF | ids of 8 ...
//	meta     magic 4 | version 4 | page size 4 | flags 4 | root 8 | sequence 8 |
//	         free list 8 | high water 8 | tx 8 | FNV-1a 8
//	bucket   root 8, 0 for a page that follows in place | sequence 8 [| page]
const (
	pageHeader  = 16
	elementSize = 16
	bucketSize  = 16
	metaSize    = 64

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
	bucketFlag   = 0x01

	boltMagic   = 0xED0CDAED
	boltVersion = 2
	maxDepth    = 64 // of a tree; bbolt's have less than 10
)

var host = binary.NativeEndian

// meta has the contents of a meta page that we use.
type meta struct {
	pageSize                        int
	root, freelist, highWater, txid uint64
}

func readMeta(file io.ReaderAt, offset int64) (m meta, ok bool) {
	var page [pageHeader + metaSize]byte
	if _, err := file.ReadAt(page[:], offset); err != nil {
		return m, false
	}
	b := page[pageHeader:]
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaSize-8]) // never fails: hash.Hash
	known := host.Uint32(b) == boltMagic && host.Uint32(b[4:]) == boltVersion
	if !known || host.Uint64(b[metaSize-8:]) != sum.Sum64() {
		return m, false
	}
	m = meta{
		pageSize: int(host.Uint32(b[8:])), root: host.Uint64(b[16:]), freelist: host.Uint64(b[32:]),
		highWater: host.Uint64(b[40:]), txid: host.Uint64(b[48:]),
	}
	return m, m.pageSize >= 512 && m.pageSize <= 64<<10
}

// readMetas returns both meta pages. A damaged one is the zero meta, and whole is false then.
func readMetas(file io.ReaderAt) (metas [2]meta, whole bool) {
	first, firstOK := readMeta(file, 0)
	size := first.pageSize
	if !firstOK {
		first, size = meta{}, os.Getpagesize()
	}
	second, secondOK := readMeta(file, int64(size))
	if !secondOK {
		second = meta{}
	}
	return [2]meta{first, second}, firstOK && secondOK
}

// newestMeta returns the meta page that bbolt uses. whole is that of readMetas. The error is of class DataLoss if both
// pages are damaged.
func newestMeta(file io.ReaderAt) (m meta, whole bool, err error) {
	metas, whole := readMetas(file)
	m = metas[0]
	if metas[1].txid > m.txid {
		m = metas[1]
	}
	if m.pageSize == 0 {
		return m, false, fmt.Errorf("it is corrupt, or not a journal: %w", errdefs.ErrDataLoss)
	}
	return m, whole, nil
}

// walker reads all pages of a database that belong to a meta page. Its errors are of class DataLoss.
type walker struct {
	meta
	file io.ReaderAt
	used []bool // by page: the walker has seen it in use
	// buffers has a page for each level of a tree: the pages above are in use while one is read.
	buffers [maxDepth + 2][]byte
	// visit is called for each key in each bucket below the root, in order. It may be nil. It must not keep its
	// arguments.
	visit func(bucket string, key, value []byte) error
	// sequences are the sequence numbers of the buckets, by name.
	sequences map[string]uint64
}

// checkPages reads all pages of a file of that many bytes.
func checkPages(
	file io.ReaderAt, size int64, m meta, visit func(bucket string, key, value []byte) error,
) (*walker, error) {
	if m.highWater < 4 || m.highWater > uint64(size)/uint64(m.pageSize) {
		return nil, fmt.Errorf("it is cut off at %d bytes, and has pages up to %d of %d bytes: %w",
			size, m.highWater, m.pageSize, errdefs.ErrDataLoss)
	}
	w := &walker{meta: m, file: file, used: make([]bool, m.highWater), visit: visit, sequences: map[string]uint64{}}
	w.used[0], w.used[1] = true, true
	if err := w.tree("", m.root, keyRange{}, 0); err != nil {
		return nil, err
	}
	return w, w.free()
}

// keyRange is a range of keys: from low up to, and without, high. nil is no bound.
type keyRange struct{ low, high []byte }

func (r keyRange) has(key []byte) bool {
	return bytes.Compare(key, r.low) >= 0 && (r.high == nil || bytes.Compare(key, r.high) < 0)
}

func (w *walker) corrupt(id uint64, format string, args ...any) error {
	return fmt.Errorf("page %d is corrupt: %s: %w", id, fmt.Sprintf(format, args...), errdefs.ErrDataLoss)
}

// page reads a page and the pages that it overflows into, and marks them as used. The bytes stay valid until the next
// page of the same depth is read.
func (w *walker) page(id uint64, depth int) ([]byte, error) {
	if id < 2 || id >= w.highWater {
		return nil, w.corrupt(id, "there is no such page")
	}
	b := w.buffers[depth]
	if b == nil {
		b = make([]byte, w.pageSize)
		w.buffers[depth] = b
	}
	if _, err := w.file.ReadAt(b, int64(id)*int64(w.pageSize)); err != nil {
		return nil, w.corrupt(id, "%v", err)
	}
	pages := uint64(host.Uint32(b[12:])) + 1
	if found := host.Uint64(b); found != id || pages > w.highWater-id {
		return nil, w.corrupt(id, "it is page %d, and %d more", found, pages-1)
	}
	for i := id; i < id+pages; i++ {
		if w.used[i] {
			return nil, w.corrupt(i, "it is used twice")
		}
		w.used[i] = true
	}
	if pages == 1 {
		return b, nil
	}
	b = make([]byte, pages*uint64(w.pageSize))
	if _, err := w.file.ReadAt(b, int64(id)*int64(w.pageSize)); err != nil {
		return nil, w.corrupt(id, "%v", err)
	}
	return b, nil
}

// tree reads a page of a bucket and all pages below it.
func (w *walker) tree(bucket string, id uint64, keys keyRange, depth int) error {
	if depth > maxDepth {
		return w.corrupt(id, "it is %d levels deep", depth)
	}
	b, err := w.page(id, depth)
	if err != nil {
		return err
	}
	switch host.Uint16(b[8:]) {
	case branchPage:
		return w.branch(bucket, id, b, keys, depth)
	case leafPage:
		return w.leaf(bucket, id, b, keys, depth)
	}
	return w.corrupt(id, "it is neither a branch nor a leaf")
}

// elements reads the elements of a page. Behind the last element their keys and values follow each other without a gap,
// so that a wrong count is found.
type elements struct {
	page  []byte
	count int
	end   uint64 // of the keys and values so far, an offset in the page
}

func elementsOf(page []byte) *elements {
	count := int(host.Uint16(page[10:]))
	return &elements{page: page, count: count, end: uint64(pageHeader + count*elementSize)}
}

// at returns the bytes from the n-th element on. All elements must fit.
func (l *elements) at(n int) []byte { return l.page[pageHeader+n*elementSize:] }

// fit reports whether all elements are within the page.
func (l *elements) fit() bool { return l.end <= uint64(len(l.page)) }

// take returns the key and the value of the n-th element. They must begin where those of the element before end.
func (l *elements) take(n int, position uint32, size uint64) ([]byte, bool) {
	from := uint64(pageHeader+n*elementSize) + uint64(position)
	if from != l.end || size > uint64(len(l.page))-from {
		return nil, false
	}
	l.end += size
	return l.page[from:l.end], true
}

func (w *walker) branch(bucket string, id uint64, b []byte, keys keyRange, depth int) error {
	l := elementsOf(b)
	count := l.count
	if count == 0 || !l.fit() {
		return w.corrupt(id, "it has %d children", count)
	}
	var key []byte
	for i := range count + 1 {
		below, child := keys, uint64(0)
		if i > 0 {
			child, below.low = host.Uint64(l.at(i - 1)[8:]), key
		}
		if i < count {
			e, ok := l.at(i), false
			key, ok = l.take(i, host.Uint32(e), uint64(host.Uint32(e[4:])))
			if !ok || !keys.has(key) || i > 0 && bytes.Compare(key, below.low) <= 0 {
				return w.corrupt(id, "key %d of %d is wrong", i+1, count)
			}
			below.high = key
		}
		if i == 0 {
			continue
		}
		if err := w.tree(bucket, child, below, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) leaf(bucket string, id uint64, b []byte, keys keyRange, depth int) error {
	l := elementsOf(b)
	if !l.fit() {
		return w.corrupt(id, "it has %d keys", l.count)
	}
	var last []byte
	for i := range l.count {
		e := l.at(i)
		size := uint64(host.Uint32(e[8:]))
		both, ok := l.take(i, host.Uint32(e[4:]), size+uint64(host.Uint32(e[12:])))
		if !ok {
			return w.corrupt(id, "key %d of %d is wrong", i+1, l.count)
		}
		key, value := both[:size], both[size:]
		if !keys.has(key) || i > 0 && bytes.Compare(key, last) <= 0 {
			return w.corrupt(id, "key %d of %d is wrong", i+1, l.count)
		}
		last = key
		if err := w.item(bucket, id, host.Uint32(e), key, value, depth); err != nil {
			return err
		}
	}
	return nil
}

// item checks a key. All keys of the root bucket are buckets, and those of other buckets are values.
func (w *walker) item(bucket string, id uint64, flags uint32, key, value []byte, depth int) error {
	switch {
	case bucket == "" && flags == bucketFlag && len(value) >= bucketSize && len(key) > 0:
	case bucket == "" || flags != 0:
		return w.corrupt(id, "key %.40q is of the wrong kind", key)
	case w.visit != nil:
		return w.visit(bucket, key, value)
	default:
		return nil
	}
	name := string(key)
	w.sequences[name] = host.Uint64(value[8:])
	if root := host.Uint64(value); root != 0 {
		return w.tree(name, root, keyRange{}, depth+1)
	}
	inline := value[bucketSize:]
	if len(inline) < pageHeader || host.Uint16(inline[8:]) != leafPage {
		return w.corrupt(id, "bucket %.40q is of the wrong kind", key)
	}
	return w.leaf(name, id, inline, keyRange{}, depth+1)
}

// free checks the list of free pages: it is in order, and none of its pages is in use.
func (w *walker) free() error {
	id := w.freelist
	b, err := w.page(id, 0)
	if err != nil {
		return err
	}
	if host.Uint16(b[8:]) != freelistPage {
		return w.corrupt(id, "it is not a list of free pages")
	}
	ids, count := b[pageHeader:], uint64(host.Uint16(b[10:]))
	if count == 0xFFFF {
		count, ids = host.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids))/8 {
		return w.corrupt(id, "it lists %d free pages", count)
	}
	for last := uint64(1); count > 0; count-- {
		page := host.Uint64(ids)
		if page <= last || page >= w.highWater || w.used[page] {
			return w.corrupt(id, "page %d is not free", page)
		}
		last, ids = page, ids[8:]
	}
	return nil
}
