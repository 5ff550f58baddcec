package keeper

import (
	"errors"
	"fmt"
	"log"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/atomicfile"
)

const (
	keepExits   = 65536       // exits that nobody forgets: so many are kept for sure
	keepSlack   = 4096        // and so many more before the oldest are dropped, all at once
	rewriteOver = 1024        // superfluous records in the file before it is rewritten
	rewriteWait = time.Second // between attempts to write a ledger whose disk refused
	exitBatch   = 256         // exits in one answer: at some 130 bytes each they fit into it
)

// ledger keeps the exits that nobody has forgotten, in memory and in a file. The file is on a tmpfs (/run) and never synced: a power loss ends
// the processes too, and writing it is copying memory, which is why mu is held over it.
type ledger struct {
	path string
	boot bootID
	log  *log.Logger

	mu      sync.Mutex
	file    *os.File
	records int       // in the file
	failed  time.Time // when writing the file last failed; zero: the file is complete
	kept    []entry   // in the order of seq
	last    uint64    // the newest seq ever given out
	dropped uint64    // the newest seq that was dropped though nobody had forgotten it
	changed chan struct{}
}

// openLedger reads the ledger at path, or makes one, and drops what is broken in it, and the exits of another boot: pid and start time name a
// process of one boot only. The caller holds the directory's lock. Errors: FailedPrecondition if a newer version of the program wrote it.
func openLedger(path string, boot bootID, logger *log.Logger) (*ledger, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the ledger: %w", err)
	}
	was, format, ok := decodeHead(data)
	if ok && format > ledgerFormat {
		return nil, fmt.Errorf("the ledger %s has format %d, and this keeper reads formats up to %d: %w", path, format, ledgerFormat, errdefs.ErrFailedPrecondition)
	}
	l := &ledger{path: path, boot: boot, log: logger, changed: make(chan struct{})}
	var broken int
	l.kept, l.last, broken = decodeLedger(data)
	if broken > 0 {
		logger.Printf("ledger: skipped %d broken records of %d bytes in all", broken, len(data))
	}
	if ok && was != boot {
		logger.Printf("ledger: dropped %d exits of an earlier boot", len(l.kept))
		l.kept = nil
	}
	if err := l.rewriteLocked(); err != nil {
		return nil, fmt.Errorf("cannot write the ledger: %w", err)
	}
	return l, nil
}

// append stores an exit and tells the followers. A disk that refuses is logged and tried again later; the exit is then kept in memory.
func (l *ledger) append(pid int, start uint64, status uint32, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	e := entry{seq: l.last, start: start, nanos: now.UnixNano(), pid: uint32(pid), status: status}
	l.kept = append(l.kept, e)
	if len(l.kept) > keepExits+keepSlack {
		l.dropped = l.kept[keepSlack-1].seq
		l.kept = slices.Delete(l.kept, 0, keepSlack)
	}
	l.writeLocked(kindExit, e)
	close(l.changed)
	l.changed = make(chan struct{})
}

// forget drops the exit of a process, if there is one.
func (l *ledger) forget(pid int, start uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.findLocked(pid, start)
	if i < 0 {
		return
	}
	e := l.kept[i]
	l.kept = slices.Delete(l.kept, i, i+1)
	l.writeLocked(kindForget, e)
}

// lookup finds the exit of a process.
func (l *ledger) lookup(pid int, start uint64) (Exit, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.findLocked(pid, start)
	if i < 0 {
		return Exit{}, false
	}
	return l.kept[i].exit(), true
}

// findLocked returns the place of the newest exit of a process, or -1.
func (l *ledger) findLocked(pid int, start uint64) int {
	for i, e := range slices.Backward(l.kept) {
		if int(e.pid) == pid && e.start == start {
			return i
		}
	}
	return -1
}

// begin returns the place just before the oldest exit that is kept, for after.
func (l *ledger) begin() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// after returns the next exits after a place, and a channel that is closed when there are more. It fails with OutOfRange when exits
// after that place were dropped that nobody had forgotten.
func (l *ledger) after(seq uint64) ([]Exit, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq < l.dropped {
		return nil, nil, fmt.Errorf("cannot go on after exit %d: the oldest kept is %d: %w", seq, l.dropped+1, errdefs.ErrOutOfRange)
	}
	i, _ := slices.BinarySearchFunc(l.kept, seq+1, func(e entry, seq uint64) int {
		if e.seq < seq {
			return -1
		}
		return 1
	})
	next := l.kept[i:min(i+exitBatch, len(l.kept))]
	exits := make([]Exit, len(next))
	for i, e := range next {
		exits[i] = e.exit()
	}
	return exits, l.changed, nil
}

// writeLocked appends one record to the file, or rewrites the file where that failed before or most of it is superfluous.
func (l *ledger) writeLocked(kind uint32, e entry) {
	var err error
	switch {
	case !l.failed.IsZero() && time.Since(l.failed) < rewriteWait:
		return
	case !l.failed.IsZero() || l.records > 2*len(l.kept)+rewriteOver:
		err = l.rewriteLocked()
	default:
		// At its own place, so that what a failed write has left is written over.
		if _, err = l.file.WriteAt(encodeRecord(nil, kind, e), int64(l.records)*recordSize); err == nil {
			l.records++
		}
	}
	if err != nil {
		l.failed = time.Now()
		l.log.Printf("ledger: exits are only in memory for now: %v", err)
	}
}

// rewriteLocked replaces the file by one that holds what is kept and nothing else.
func (l *ledger) rewriteLocked() error {
	data := encodeHead(make([]byte, 0, (len(l.kept)+2)*recordSize), l.boot)
	data = encodeRecord(data, kindLast, entry{seq: l.last})
	for _, e := range l.kept {
		data = encodeRecord(data, kindExit, e)
	}
	file, err := atomicfile.Create(l.path, data, 0o600)
	if err != nil {
		return err
	}
	if l.file != nil {
		l.file.Close() // its path is the new file's by now
	}
	l.file, l.records, l.failed = file, len(l.kept)+2, time.Time{}
	return nil
}

// Close closes the file, after one more attempt to write what its disk refused before.
func (l *ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.failed.IsZero() {
		if err := l.rewriteLocked(); err != nil {
			return errors.Join(err, l.file.Close())
		}
	}
	return l.file.Close()
}
