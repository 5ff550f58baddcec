package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Journal is an open journal. All methods are safe for concurrent use. It owns its file, which stays locked against
// other processes, and one goroutine, the committer; both end with Close.
type Journal struct {
	path  string
	id    string
	opts  Options
	db    *bolt.DB
	file  *os.File // the one that db has open; closed by db
	queue queue

	// opened is what the database took of the file when it was opened; reserved is where the allocated part of the file
	// ends, as far as known: the committer's.
	opened, reserved int64
	torn             bool // one meta page made no sense at opening

	committer sync.WaitGroup
	closing   sync.Once
	closeErr  error // written inside closing

	mu      sync.Mutex
	state   state         // as of the last transaction that is on disk
	changed chan struct{} // closed at the next change of state; nil while nobody waits for one
}

// position is what the journal holds after a transaction.
type position struct {
	tx     int    // bbolt's number of that transaction
	format uint32 // see Options.Format
	oldest uint64 // number of the oldest event kept; 1 if there was none yet
	newest uint64 // number of the newest event; 0 if there was none yet
	first  stamp  // of the oldest event, if there is one
	tail   stamp  // what the next event goes on from; its start is the end of the newest
}

// ID is a random name that the journal got when it was created: 32 hexadecimal digits. A number of an event means
// something only together with it.
func (j *Journal) ID() string { return j.id }

// Format returns the format that the journal has: at most [Options.Format], which is for [Tx.SetFormat] to reach.
func (j *Journal) Format() uint32 { return j.current().format }

// Copy writes a journal to w that is this one, as one commit left it. It holds no commit up, but keeps the space of what
// is deleted meanwhile from being used again. Errors: [ErrClosed], w's, DataLoss where the file can't be read.
func (j *Journal) Copy(w io.Writer) error {
	return j.read(func(tx *bolt.Tx) error {
		_, err := tx.WriteTo(w)
		return err
	})
}

// Oldest returns the number of the oldest event kept. It is 1 as long as there was none yet.
func (j *Journal) Oldest() uint64 { return j.current().oldest }

// Newest returns the number of the newest event, 0 if there was none yet.
func (j *Journal) Newest() uint64 { return j.current().newest }

// Close refuses new commits, waits until those that are queued are committed, wakes every waiting cursor with
// [ErrClosed], waits for running Views, and releases the file. Every call returns after that, with the same result. It
// must not be called from within a View or a commit function.
func (j *Journal) Close() error {
	j.closing.Do(func() {
		j.queue.close()
		j.committer.Wait()
		j.change(func(s *state) { s.closed = true })
		j.closeErr = j.release()
	})
	return j.closeErr
}

// release closes the file. A database that has lost a lock can't be closed by bbolt: then only the descriptor is, and
// with it the lock on the file; the mapping stays.
func (j *Journal) release() error {
	closeFile := j.db.Close
	if j.current().stuck {
		closeFile = j.file.Close
	}
	if err := closeFile(); err != nil {
		return fmt.Errorf("cannot close journal %s: %w", j.path, err)
	}
	return nil
}

// state is what everybody but the committer only reads.
type state struct {
	position
	broken error // why no commit is possible any more until the file is opened again, or nil
	// refused is why the disk didn't take the last commit, scarce why the reserve isn't whole; nil where all is well.
	refused, scarce error
	stuck           bool // bbolt has lost one of its locks: to call it may mean to wait for ever
	closed          bool // Close was called
}

// current returns the state.
func (j *Journal) current() state {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state
}

// watch returns the state and a channel that is closed once it is different.
func (j *Journal) watch() (state, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.changed == nil {
		j.changed = make(chan struct{})
	}
	return j.state, j.changed
}

// change lets set change the state and wakes those who wait for it.
func (j *Journal) change(set func(*state)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	set(&j.state)
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
}

// read runs fn in a read transaction whose effects are on disk. It returns ErrClosed after Close, and DataLoss where the
// file can't be read; a panic of fn's own goes on.
func (j *Journal) read(fn func(*bolt.Tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	tx, err := j.begin()
	if err != nil {
		return err
	}
	defer func() {
		if rollbackErr := contain(tx.Rollback); err == nil {
			err = rollbackErr
		}
	}()
	defer recoverCorruption(&err)
	return fn(tx)
}

// begin starts a read transaction and waits until what it sees is on disk: bbolt shows a transaction before its last sync
// has returned. It waits for a commit that is about to end, never for one to come, and not at all on a broken journal.
func (j *Journal) begin() (*bolt.Tx, error) {
	tx, err := j.beginRead()
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return nil, ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read journal %s: %w", j.path, err)
	}
	for {
		s, changed := j.watch()
		if tx.ID() <= s.tx || s.broken != nil {
			return tx, nil
		}
		<-changed
	}
}

// beginRead starts a read transaction. Where bbolt panics at that, it leaves its locks behind.
func (j *Journal) beginRead() (*bolt.Tx, error) {
	if s := j.current(); s.stuck {
		return nil, fmt.Errorf("%v: %w", s.broken, errdefs.ErrDataLoss)
	}
	var tx *bolt.Tx
	err := contain(func() (err error) {
		tx, err = j.db.Begin(false)
		return err
	})
	if errdefs.IsDataLoss(err) {
		j.lose(err)
	}
	return tx, err
}

// lose makes the journal refuse everything from now on, since bbolt has lost a lock.
func (j *Journal) lose(err error) {
	j.change(func(s *state) { s.broken, s.stuck = err, true })
}

// corruption is the panic value that stands for a file that can't be understood.
type corruption struct{ err error }

// access runs fn, which reads or writes bbolt's pages, inside a function of the user. bbolt panics where a page makes no
// sense, and a page beyond the end of a file that was cut off faults: both become a corruption, which unwinds that
// function and can be told from its own panics.
func access(fn func() error) {
	if err := contain(fn); err != nil {
		panic(corruption{err})
	}
}

// contain runs fn, which only calls bbolt and this package, and turns a panic into an error of class DataLoss.
func contain(fn func() error) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // see runtime/debug.SetPanicOnFault
			err = fmt.Errorf("journal is corrupt: reading its mapping at %#x failed: %w", v.Addr(), errdefs.ErrDataLoss)
		default:
			err = fmt.Errorf("journal is corrupt: %v: %w", v, errdefs.ErrDataLoss)
		}
	}()
	return fn()
}

// recoverCorruption is deferred around a function of the user; it stops the panics of access and lets all others pass.
func recoverCorruption(err *error) {
	switch v := recover().(type) {
	case nil:
	case corruption:
		*err = v.err
	default:
		panic(v)
	}
}
