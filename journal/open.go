package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"time"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/engine-lite/engine-lite/internal/flock"
)

// The buckets of the file, and the keys of the first one: its format in 4 bytes, big-endian, and its name.
const (
	journalBucket = "journal"
	recordsBucket = "records"
	eventsBucket  = "events"

	formatKey = "format"
	idKey     = "id"
)

// firstFormat is the format of journals whose caller names none.
const firstFormat = 1

// addressSpace is how many bytes of addresses are reserved for the mapping of the file. When the file grows beyond, a
// commit waits until no reader uses the old mapping.
const addressSpace = 256 << 20

// Open opens the journal at path. If there is none, it creates one with mode 0600; the directory must exist. The file
// is locked (flock(2)) until the caller calls Close. Open reads all pages of the file, and all records.
//
// Errors: [ErrInUse]. FailedPrecondition if the file is a bbolt database but no journal, or if a newer version of the
// program wrote it. DataLoss if the file is empty, cut off or damaged. Other errors come from the file system.
func Open(path string, opts Options) (*Journal, error) {
	opts = opts.withDefaults()
	j := &Journal{path: path, opts: opts}
	err := j.open()
	if errors.Is(err, fs.ErrNotExist) && !opts.ReadOnly {
		if err = create(path, opts); err == nil {
			err = j.open()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open journal %s: %w", path, err)
	}
	j.queue.init()
	if opts.ReadOnly {
		j.queue.close()
		return j, nil
	}
	if err := sweep(path); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open journal %s: %w", path, err), j.db.Close())
	}
	j.keepReserve(j.opened)
	j.committer.Go(j.commitAll)
	return j, nil
}

// open opens an existing file and reads the position of its events. After an error the file is closed; if bbolt has
// panicked, its mapping of the file stays.
func (j *Journal) open() error {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	err := contain(func() (err error) {
		j.db, err = bolt.Open(j.path, 0o600, j.boltOptions())
		return err
	})
	if err != nil {
		return errors.Join(classify(err), j.abandon())
	}
	if err := contain(func() error { return j.db.View(j.load) }); err != nil {
		return errors.Join(err, j.db.Close())
	}
	return nil
}

// abandon closes the descriptor, if bbolt panicked after it had opened the file.
func (j *Journal) abandon() error {
	if j.file == nil {
		return nil
	}
	if err := j.file.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}

func (j *Journal) boltOptions() *bolt.Options {
	return &bolt.Options{
		Timeout:         time.Nanosecond, // openFile has locked it
		ReadOnly:        j.opts.ReadOnly,
		PreLoadFreelist: true,
		NoSync:          j.opts.NoSync,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: addressSpace,
		NoStatistics:    true,
		OpenFile:        j.openFile,
	}
}

// openFile opens, locks and checks the file for bbolt. It refuses a file that is absent or empty, of which bbolt would
// make a database.
func (j *Journal) openFile(path string, flag int, mode os.FileMode) (*os.File, error) {
	file, err := os.OpenFile(path, flag&^os.O_CREATE, mode)
	if err != nil {
		return nil, err
	}
	var info fs.FileInfo
	if err = j.lock(file); err == nil {
		info, err = file.Stat()
	}
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("it is not a regular file: %w", errdefs.ErrFailedPrecondition)
	case info.Size() == 0:
		err = fmt.Errorf("it is empty: %w", errdefs.ErrDataLoss)
	default:
		err = j.checkFile(file, info.Size())
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	j.file = file
	return file, nil
}

// lock locks the file as bbolt does: its own attempt succeeds then, since the descriptor is the same. So the file is
// locked when checkFile reads it.
func (j *Journal) lock(file *os.File) error {
	mode := flock.Exclusive
	if j.opts.ReadOnly {
		mode = flock.Shared
	}
	ctx, cancel := context.WithTimeout(context.Background(), j.opts.LockTimeout)
	defer cancel()
	err := flock.Lock(ctx, file, mode)
	if errors.Is(err, flock.ErrTaken) {
		return ErrInUse
	}
	return err
}

// checkFile reads all pages and all records. Without that, a record whose key is damaged would seem to be absent.
// Events are checked when they are read.
func (j *Journal) checkFile(file *os.File, size int64) error {
	m, whole, err := newestMeta(file)
	if err != nil {
		return err
	}
	j.torn = !whole
	_, err = checkPages(file, size, m, func(bucket string, key, sealed []byte) error {
		if bucket != recordsBucket {
			return nil
		}
		_, err := unseal(key, sealed)
		return err
	})
	return err
}

// classify gives an error of bbolt.Open its class.
func classify(err error) error {
	switch {
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum),
		errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("it is corrupt, or not a journal: %w: %w", err, errdefs.ErrDataLoss)
	}
	return err
}

// load checks the format, and reads the id and the position of the events.
func (j *Journal) load(tx *bolt.Tx) error {
	header := tx.Bucket([]byte(journalBucket))
	if header == nil {
		return fmt.Errorf("it is a database but not a journal: %w", errdefs.ErrFailedPrecondition)
	}
	format, err := checkFormat(header.Get([]byte(formatKey)), j.opts.Format)
	if err != nil {
		return err
	}
	j.id = string(header.Get([]byte(idKey)))
	if _, err := openBucket(tx, recordsBucket); err != nil {
		return err
	}
	events, err := openBucket(tx, eventsBucket)
	if err != nil {
		return err
	}
	j.opened = tx.Size()
	j.state.position, err = events.position()
	j.state.position.tx, j.state.position.format = tx.ID(), format
	return err
}

func checkFormat(stored []byte, newest uint32) (uint32, error) {
	if len(stored) != 4 {
		return 0, fmt.Errorf("its format is not recorded: %w", errdefs.ErrDataLoss)
	}
	found := binary.BigEndian.Uint32(stored)
	if found < firstFormat || found > newest {
		return 0, fmt.Errorf("it has format %d, and this version of the program reads formats %d to %d only: %w",
			found, firstFormat, newest, errdefs.ErrFailedPrecondition)
	}
	return found, nil
}

// position reads the position from the first and the last event.
func (b bucket) position() (position, error) {
	p := position{oldest: b.oldest(), newest: b.Sequence(), tail: stamp{appended: math.MinInt64, mark: math.MinInt64}}
	last, _ := b.Cursor().Last()
	if last == nil && p.newest == 0 {
		return p, nil
	}
	if seqOf(last) != p.newest {
		return p, fmt.Errorf("its newest event is %d, not %d: %w", seqOf(last), p.newest, errdefs.ErrDataLoss)
	}
	var err error
	if p.first, _, err = b.stampOf(p.oldest); err != nil {
		return p, err
	}
	var size int
	if p.tail, size, err = b.stampOf(p.newest); err != nil {
		return p, err
	}
	p.tail.start += storedSize(size)
	return p, nil
}
