// Package store keeps the engine's records and events in the journal.
//
// A package that has something to keep declares a [Kind] for it and hands that to [Open]. The store knows no kind by
// itself. A change is one call of [Store.Update]: the records that it writes and the events that it appends are on
// disk together or not at all.
//
// An event may have to wait for something before subscribers see it: the event of an exit waits until the container's
// log is complete. [Tx.Hold] and [Store.Release] are for that: the delivery hold.
package store

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/engine-lite/engine-lite/internal/span"
	"github.com/engine-lite/engine-lite/journal"
)

// Journal is what the store needs of a journal. *journal.Journal is one.
type Journal interface {
	ID() string
	Oldest() uint64
	Newest() uint64
	Room(ctx context.Context) error
	Commit(ctx context.Context, fn func(*journal.Tx) error) error
	View(fn func(*journal.Snapshot) error) error
	Cursor(after uint64) *journal.Cursor
	CursorSince(t time.Time) (*journal.Cursor, error)
	Check(ctx context.Context, report func(finding string)) error
	Format() uint32
	Copy(w io.Writer) error
	Close() error
}

// Store is a journal and the kinds of record in it. Its methods may be called from any goroutine.
type Store struct {
	Journal
	kinds map[string]bool
	hold  *deliveryHold
}

// New returns the store of a journal that has the form of this release: see [Open]. Only records of these kinds can be
// written. The store owns the journal: Close closes it.
func New(j Journal, kinds ...Registered) *Store {
	s := &Store{Journal: j, kinds: map[string]bool{}, hold: newDeliveryHold()}
	for _, k := range kinds {
		s.kinds[k.name()] = true
	}
	return s
}

// Update runs fn and returns when what fn wrote is on disk, all or nothing. fn runs at most once, and no other Update
// runs meanwhile: it should be quick, and must not call Update. Its error is returned, and nothing of it is kept. The
// other errors are those of journal.Commit.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	t := &Tx{store: s}
	_, step := span.Start(ctx, "journal")
	err := s.Commit(ctx, func(tx *journal.Tx) error {
		t.tx = tx
		return fn(t)
	})
	step.End(err)
	if err != nil {
		for _, seq := range t.held {
			s.hold.release(seq)
		}
	}
	return err
}

// Hold keeps an event that is in the journal already from subscribers, as [Tx.Hold] does with a new one. The caller
// calls Release as often as Hold.
func (s *Store) Hold(seq uint64) { s.hold.hold(seq) }

// Release lets subscribers have an event that was held.
func (s *Store) Release(seq uint64) { s.hold.release(seq) }

// Held returns how many events subscribers have to wait for.
func (s *Store) Held() int { return s.hold.count() }

// AwaitDelivery returns when subscribers may have an event, or with ctx's error if ctx ends first.
func (s *Store) AwaitDelivery(ctx context.Context, seq uint64) error { return s.hold.await(ctx, seq) }

// Tx is what the function of an Update reads and writes. Nobody may use it after that function has returned.
type Tx struct {
	store *Store
	tx    *journal.Tx
	held  []uint64
}

// Get implements journal.Reader: it returns a record as it is stored.
func (t *Tx) Get(kind, key string) ([]byte, bool) { return t.tx.Get(kind, key) }

// ForEach implements journal.Reader.
func (t *Tx) ForEach(kind string, fn func(key string, value []byte) error) error {
	return t.tx.ForEach(kind, fn)
}

// Append adds an event and returns its number. The number means nothing if the Update fails.
func (t *Tx) Append(ev journal.Event) uint64 { return t.tx.Append(ev) }

// Hold keeps an event that this Update appends from subscribers until Release is called with its number. The store
// releases the event itself if the Update fails.
func (t *Tx) Hold(seq uint64) {
	t.store.hold.hold(seq)
	t.held = append(t.held, seq)
}

// write checks that a kind was registered: a record that nobody checks, migrates or dumps is a bug of ours.
func (t *Tx) write(kind string) *journal.Tx {
	if !t.store.kinds[kind] {
		panic(fmt.Sprintf("store: records of kind %q are not registered", kind))
	}
	return t.tx
}
