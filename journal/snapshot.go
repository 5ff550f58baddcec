package journal

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
)

// Reader reads records. [Tx] and [Snapshot] implement it. Its values are copies, which the caller owns.
//
// If the file is damaged, both methods panic, which ends the function that was given to Commit or View, and that Commit
// or View returns an error of class DataLoss. So a record that can't be read never seems to be absent.
type Reader interface {
	// Get returns a record, or false if there is none.
	Get(kind, key string) ([]byte, bool)
	// ForEach calls fn for every record of a kind, in the byte order of the keys. It stops at an error of fn, and
	// returns that error.
	ForEach(kind string, fn func(key string, value []byte) error) error
}

var (
	_ Reader = (*Tx)(nil)
	_ Reader = (*Snapshot)(nil)
)

// Snapshot shows the journal as one commit left it. It must not be used after the function of its View has returned,
// nor by several goroutines at once.
type Snapshot struct {
	records bucket
	newest  uint64
}

// View runs fn on a snapshot and returns fn's error. The snapshot shows only commits that are on disk: View waits for a
// commit whose sync is under way. fn should be quick: while it runs, the space of deleted values can't be used again,
// and commits wait for fn if the file needs a larger mapping. So fn must not wait for a Commit. A panic of fn passes
// through.
//
// Other errors: [ErrClosed], and DataLoss if the file is damaged.
func (j *Journal) View(fn func(*Snapshot) error) error {
	return j.read(func(tx *bolt.Tx) error {
		var s Snapshot
		access(func() (err error) {
			s, err = newSnapshot(tx)
			return err
		})
		return fn(&s)
	})
}

func newSnapshot(tx *bolt.Tx) (Snapshot, error) {
	records, err := openBucket(tx, recordsBucket)
	if err != nil {
		return Snapshot{}, err
	}
	events, err := openBucket(tx, eventsBucket)
	if err != nil {
		return Snapshot{}, err
	}
	return Snapshot{records: records, newest: events.Sequence()}, nil
}

// Newest returns the number of the newest event that the snapshot includes. A cursor from there returns all changes
// that the snapshot does not show.
func (s *Snapshot) Newest() uint64 { return s.newest }

// Get implements [Reader].
func (s *Snapshot) Get(kind, key string) ([]byte, bool) {
	return s.records.get(recordKey(kind, key))
}

// ForEach implements [Reader].
func (s *Snapshot) ForEach(kind string, fn func(key string, value []byte) error) error {
	return s.ForEachPrefix(kind, "", fn)
}

// ForEachPrefix is like ForEach for the records whose keys begin with prefix. It does not read others.
func (s *Snapshot) ForEachPrefix(kind, prefix string, fn func(key string, value []byte) error) error {
	begin := len(recordKey(kind, ""))
	for i := s.records.seek(recordKey(kind, prefix)); i.valid(); i.next() {
		if err := fn(string(i.key[begin:]), i.value()); err != nil {
			return err
		}
	}
	return nil
}

// All calls fn for every record of every kind, in the byte order of kinds and keys. It stops at an error of fn, and
// returns that error.
func (s *Snapshot) All(fn func(kind, key string, value []byte) error) error {
	for i := s.records.seek(nil); i.valid(); i.next() {
		kind, key, _ := strings.Cut(string(i.key), "\x00")
		if err := fn(kind, key, i.value()); err != nil {
			return err
		}
	}
	return nil
}

// recordKey returns the stored key of a record. The kind ends with a NUL: a kind has none itself.
func recordKey(kind, key string) []byte {
	b := make([]byte, 0, len(kind)+1+len(key))
	b = append(append(b, kind...), 0)
	return append(b, key...)
}

// bucket is a bbolt bucket of sealed values, read from within functions of the user: see access.
type bucket struct{ *bolt.Bucket }

func openBucket(tx *bolt.Tx, name string) (bucket, error) {
	b := tx.Bucket([]byte(name))
	if b == nil {
		return bucket{}, fmt.Errorf("journal has no bucket %q: %w", name, errdefs.ErrDataLoss)
	}
	return bucket{b}, nil
}

func (b bucket) get(key []byte) (value []byte, ok bool) {
	access(func() error {
		sealed := b.Get(key)
		if sealed == nil {
			return nil
		}
		unsealed, err := unseal(key, sealed)
		value, ok = bytes.Clone(unsealed), err == nil
		return err
	})
	return value, ok
}

// seek returns an iterator at the first key with a prefix.
func (b bucket) seek(prefix []byte) *iterator {
	i := &iterator{prefix: prefix}
	access(func() error {
		i.cursor = b.Cursor()
		i.key, i.sealed = i.cursor.Seek(prefix)
		return nil
	})
	return i
}

// iterator walks over the keys with a prefix. The bucket must not change meanwhile.
type iterator struct {
	prefix      []byte
	cursor      *bolt.Cursor
	key, sealed []byte
}

func (i *iterator) valid() bool { return i.key != nil && bytes.HasPrefix(i.key, i.prefix) }

func (i *iterator) next() {
	access(func() error {
		i.key, i.sealed = i.cursor.Next()
		return nil
	})
}

func (i *iterator) value() (value []byte) {
	access(func() error {
		unsealed, err := unseal(i.key, i.sealed)
		value = bytes.Clone(unsealed)
		return err
	})
	return value
}
