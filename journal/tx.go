package journal

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
)

const maxRecordBytes = 64 << 20

// Tx reads and writes for a commit function. It shows the writes of its own function, and those of functions that were
// committed before. It must not be used after its function has returned, nor by several goroutines at once.
//
// A wrong argument of a method makes the Commit fail with InvalidArgument, unless its function returns another error.
type Tx struct {
	records bucket
	next    uint64 // number of the next event
	now     func() time.Time
	staged  map[string]write
	events  []Event
	encoded [][]byte  // the bodies of events
	format  uint32    // the one that the journal is to have
	formats [2]uint32 // the one that it has, and the newest that the caller reads
	invalid error     // the first wrong argument
	probe   bool      // commit even if nothing was written
}

// write is a value that is to be put, or a key that is to be deleted.
type write struct {
	value   []byte
	deleted bool
}

// Get implements [Reader].
func (t *Tx) Get(kind, key string) ([]byte, bool) {
	k := recordKey(kind, key)
	if w, ok := t.staged[string(k)]; ok {
		return bytes.Clone(w.value), !w.deleted
	}
	return t.records.get(k)
}

// Put stores a copy of value. A kind is not empty and has no NUL. A key is not empty. Kind and key together have less
// than 32 KiB. A value has at most 64 MiB, and may be empty.
func (t *Tx) Put(kind, key string, value []byte) {
	if len(value) > maxRecordBytes {
		t.refuse(fmt.Errorf("cannot store a record of %d bytes: %w", len(value), errdefs.ErrInvalidArgument))
		return
	}
	t.stage(kind, key, write{value: append([]byte{}, value...)})
}

// Delete removes a record. It is no error if there is none.
func (t *Tx) Delete(kind, key string) {
	t.stage(kind, key, write{deleted: true})
}

func (t *Tx) stage(kind, key string, w write) {
	k := recordKey(kind, key)
	if kind == "" || key == "" || strings.ContainsRune(kind, 0) || len(k) > bolt.MaxKeySize {
		t.refuse(fmt.Errorf("cannot store a record of kind %.64q with key %.64q: %w", kind, key, errdefs.ErrInvalidArgument))
		return
	}
	if t.staged == nil {
		t.staged = make(map[string]write)
	}
	t.staged[string(k)] = w
}

// refuse keeps the error of the first wrong argument.
func (t *Tx) refuse(err error) {
	if t.invalid == nil {
		t.invalid = err
	}
}

// ForEach implements [Reader]. It visits the records that exist when it is called: fn may put and delete.
func (t *Tx) ForEach(kind string, fn func(key string, value []byte) error) error {
	prefix := recordKey(kind, "")
	staged, writes := t.stagedUnder(prefix)
	visit := func(k string, value []byte) error { return fn(k[len(prefix):], value) }
	for i := t.records.seek(prefix); i.valid(); i.next() {
		stored := string(i.key)
		for len(staged) > 0 && staged[0] < stored {
			if err := visitStaged(staged[0], writes, visit); err != nil {
				return err
			}
			staged = staged[1:]
		}
		if len(staged) > 0 && staged[0] == stored {
			continue // the staged write is visited instead: before the next stored key, or in the end
		}
		if err := visit(stored, i.value()); err != nil {
			return err
		}
	}
	for _, k := range staged {
		if err := visitStaged(k, writes, visit); err != nil {
			return err
		}
	}
	return nil
}

// stagedUnder returns a copy of the staged writes whose keys have a prefix, and those keys in order.
func (t *Tx) stagedUnder(prefix []byte) ([]string, map[string]write) {
	writes := make(map[string]write)
	for k, w := range t.staged {
		if strings.HasPrefix(k, string(prefix)) {
			writes[k] = w
		}
	}
	return slices.Sorted(maps.Keys(writes)), writes
}

func visitStaged(k string, writes map[string]write, visit func(string, []byte) error) error {
	if writes[k].deleted {
		return nil
	}
	return visit(k, bytes.Clone(writes[k].value))
}

// Append adds an event and returns its number. If the Commit fails, another event gets that number. The strings of an
// event together have less than 1 MiB.
func (t *Tx) Append(e Event) uint64 {
	e.Seq = t.next + uint64(len(t.events))
	if e.Time.IsZero() {
		e.Time = t.now()
	}
	if !time.Unix(0, nanoseconds(e.Time)).Equal(e.Time) {
		t.refuse(fmt.Errorf("cannot append an event of the year %d: %w", e.Time.Year(), errdefs.ErrInvalidArgument))
		return e.Seq
	}
	body := encodeEvent(nil, e)
	if len(body) > maxEventBytes {
		t.refuse(fmt.Errorf("cannot append an event of %d bytes: %w", len(body), errdefs.ErrInvalidArgument))
		return e.Seq
	}
	t.events = append(t.events, e)
	t.encoded = append(t.encoded, body)
	return e.Seq
}

// SetFormat changes the format of the journal in this transaction. InvalidArgument if it is older than the journal's,
// or newer than [Options.Format].
func (t *Tx) SetFormat(format uint32) {
	if format < t.formats[0] || format > t.formats[1] {
		t.refuse(fmt.Errorf("cannot give a journal of format %d format %d: %w", t.formats[0], format, errdefs.ErrInvalidArgument))
		return
	}
	t.format = format
}

// dirty reports whether there is anything to commit.
func (t *Tx) dirty() bool { return t.probe || t.format != 0 || len(t.staged) > 0 || len(t.events) > 0 }
