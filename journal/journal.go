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

// Journal is an open journal. All methods are safe for concurrent use. A journal owns its file, which stays locked
// against other processes, and one goroutine, the committer. Close closes the file and ends the goroutine.
type Journal struct {
	path  string
	id    string
	opts  Options
	db    *bolt.DB
	file  *os.File // the one that db has open; closed by db
	queue queue

	// opened is the size of the database in bytes when it was opened. reserved is the offset at which the allocated
	// part of the file ends, as far as known; only the committer uses it.
	opened, reserved int64
	torn             bool // one meta page was damaged when the file was opened

	committer sync.WaitGroup
	closing   sync.Once
	closeErr  error // written inside closing

	mu      sync.Mutex
	state   state         // as of the last transaction that is on disk
	changed chan struct{} // closed at the next change of state; nil while nobody waits for one
}

// position says which events the journal has after a transaction.
type position struct {
	tx     int    // bbolt's number of that transaction
	format uint32 // see Options.Format
	oldest uint64 // number of the oldest event that is kept; 1 if there has been none
	newest uint64 // number of the newest event; 0 if there has been none
	first  stamp  // of the oldest event, if there is one
	tail   stamp  // of the newest event, but start is the end of that event: the next stamp continues from here
}

// ID returns the random name that the journal got when it was created: 32 hexadecimal digits. The number of an event is
// unique only within one journal.
func (j *Journal) ID() string { return j.id }

// Format returns the format of the journal: [Options.Format] or an older one. [Tx.SetFormat] changes it.
func (j *Journal) Format() uint32 { return j.current().format }

// Copy writes a copy of the journal to w, as one commit left it. Commits go on meanwhile, but the space of what they
// delete is not used again before the copy is complete. Errors: [ErrClosed]; those of w; DataLoss if the file cannot be
// read.
func (j *Journal) Copy(w io.Writer) error {
	return j.read(func(tx *bolt.Tx) error {
		_, err := tx.WriteTo(w)
		return err
	})
}

// Oldest returns the number of the oldest event that is kept, 1 if there has been none.
func (j *Journal) Oldest() uint64 { return j.current().oldest }

// Newest returns the number of the newest event, 0 if there has been none.
func (j *Journal) Newest() uint64 { return j.current().newest }

// Close refuses new commits, waits until the queued ones are committed, makes waiting cursors return [ErrClosed], waits
// for running Views, and closes the file. Further calls wait for the first one and return its result, an error of the
// file system or nil. Close must not be called in the function of a View or a Commit.
func (j *Journal) Close() error {
	j.closing.Do(func() {
		j.queue.close()
		j.committer.Wait()
		j.change(func(s *state) { s.closed = true })
		j.closeErr = j.release()
	})
	return j.closeErr
}

// release closes the file. If bbolt has lost one of its locks, its Close would wait for ever: then release closes only
// the descriptor, which unlocks the file, and the mapping stays.
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

// state is written by the committer, and by Close and failed readers through change. All others only read it.
type state struct {
	position
	broken error // why no commit is possible any more until the file is opened again, or nil
	// refused is why the disk did not take the last commit, scarce why the reserve is not complete; nil if all is well.
	refused, scarce error
	stuck           bool // bbolt has lost one of its locks: a call of bbolt may wait for ever
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

// change lets set change the state, and wakes all that wait for a change.
func (j *Journal) change(set func(*state)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	set(&j.state)
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
}

// read runs fn in a read transaction that shows only commits that are on disk. It returns ErrClosed after Close, and
// DataLoss if the file is damaged. A panic of fn itself passes through.
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

// begin starts a read transaction and waits until the commits in it are on disk: bbolt shows a commit before its last
// sync has returned. begin waits only for a commit whose sync is under way, and not at all on a broken journal.
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

// beginRead starts a read transaction. If bbolt panics, its locks stay locked.
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

// lose makes the journal refuse all commits and reads from now on, since bbolt has lost a lock.
func (j *Journal) lose(err error) {
	j.change(func(s *state) { s.broken, s.stuck = err, true })
}

// corruption is the value of a panic because of a damaged file.
type corruption struct{ err error }

// access runs fn, which reads or writes bbolt's pages, inside a function of the user. bbolt panics at a damaged page,
// and reading a page beyond the end of the file faults. access panics with a corruption then, which ends the user's
// function and differs from a panic of that function.
func access(fn func() error) {
	if err := contain(fn); err != nil {
		panic(corruption{err})
	}
}

// contain runs fn, which calls only bbolt and this package, and returns a panic as an error of class DataLoss.
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

// recoverCorruption is deferred around a function of the user. It stops the panics of access; all others pass through.
func recoverCorruption(err *error) {
	switch v := recover().(type) {
	case nil:
	case corruption:
		*err = v.err
	default:
		panic(v)
	}
}
