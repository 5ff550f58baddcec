// Package ledger keeps the exits of processes until somebody forgets them.
package ledger

import (
	"errors"
	"fmt"
	"log"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/engine-lite/engine-lite/internal/procfs"
	"github.com/engine-lite/engine-lite/keeper/internal/wire"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/atomicfile"
)

const (
	keepExits   = 65536       // the newest exits that are kept for sure
	keepSlack   = 4096        // further exits before the oldest are dropped, all at once
	rewriteOver = 1024        // superfluous records in the file before it is rewritten
	rewriteWait = time.Second // between two tries to write the file, after the disk refused
	exitBatch   = 256         // exits in one answer, which has room for them: an exit takes some 130 bytes
)

// Ledger has the exits that nobody has forgotten, in memory and in a file. Any goroutine may call any method. The
// file is on a tmpfs (/run) and never synced: a power loss ends the processes too. Writing to it copies memory and
// does not wait, so mu is held meanwhile.
type Ledger struct {
	path string
	boot procfs.BootID
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

// Open reads the ledger at path, or makes one. It drops broken records, and the exits of another boot: a pid and a
// start time name a process of one boot only. The caller holds the directory's lock, and closes the ledger.
//
// Errors: FailedPrecondition if a newer version of the program wrote the file.
func Open(path string, boot procfs.BootID, logger *log.Logger) (*Ledger, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the ledger: %w", err)
	}
	was, format, ok := decodeHead(data)
	if ok && format > ledgerFormat {
		return nil, fmt.Errorf("the ledger %s has format %d, and this keeper reads formats up to %d: %w",
			path, format, ledgerFormat, errdefs.ErrFailedPrecondition)
	}
	l := &Ledger{path: path, boot: boot, log: logger, changed: make(chan struct{})}
	var broken int
	l.kept, l.last, broken = decodeLedger(data)
	if broken > 0 {
		logger.Printf("ledger: skipped %d damaged records of a file of %d bytes", broken, len(data))
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

// Append stores an exit and wakes the followers. If the disk refuses, the exit is in memory only, that is logged,
// and the file is tried again later.
func (l *Ledger) Append(pid int, start uint64, status uint32, now time.Time) {
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

// Forget drops the exit of a process, if there is one.
func (l *Ledger) Forget(pid int, start uint64) {
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

// Lookup returns the exit of a process, and whether there is one.
func (l *Ledger) Lookup(pid int, start uint64) (wire.Exit, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.findLocked(pid, start)
	if i < 0 {
		return wire.Exit{}, false
	}
	return l.kept[i].exit(), true
}

// findLocked returns the place of the newest exit of a process, or -1.
func (l *Ledger) findLocked(pid int, start uint64) int {
	for i, e := range slices.Backward(l.kept) {
		if int(e.pid) == pid && e.start == start {
			return i
		}
	}
	return -1
}

// Begin returns the place before the oldest exit, for After.
func (l *Ledger) Begin() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// After returns the next exits after a place, and a channel that is closed when there are more. A place is the Seq
// of an exit, or comes from Begin. Errors: OutOfRange if exits after that place were dropped that nobody had
// forgotten.
func (l *Ledger) After(seq uint64) ([]wire.Exit, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq < l.dropped {
		return nil, nil, fmt.Errorf("cannot go on after exit %d: the oldest kept is %d: %w",
			seq, l.dropped+1, errdefs.ErrOutOfRange)
	}
	i, _ := slices.BinarySearchFunc(l.kept, seq+1, func(e entry, seq uint64) int {
		if e.seq < seq {
			return -1
		}
		return 1
	})
	next := l.kept[i:min(i+exitBatch, len(l.kept))]
	exits := make([]wire.Exit, len(next))
	for i, e := range next {
		exits[i] = e.exit()
	}
	return exits, l.changed, nil
}

// writeLocked appends one record to the file. It rewrites the file instead if an earlier write failed, or if most
// records are superfluous.
func (l *Ledger) writeLocked(kind uint32, e entry) {
	var err error
	switch {
	case !l.failed.IsZero() && time.Since(l.failed) < rewriteWait:
		return
	case !l.failed.IsZero() || l.records > 2*len(l.kept)+rewriteOver:
		err = l.rewriteLocked()
	default:
		// At its own place: the record replaces the bytes that a failed write may have left there.
		if _, err = l.file.WriteAt(encodeRecord(nil, kind, e), int64(l.records)*recordSize); err == nil {
			l.records++
		}
	}
	if err != nil {
		l.failed = time.Now()
		l.log.Printf(
			"ledger: cannot write the file; new exits are in memory only until a later write succeeds: %v", err)
	}
}

// rewriteLocked replaces the file by one with the kept exits and nothing else.
func (l *Ledger) rewriteLocked() error {
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
		l.file.Close() // the path leads to the new file already
	}
	l.file, l.records, l.failed = file, len(l.kept)+2, time.Time{}
	return nil
}

// Close closes the file. If the disk refused before, Close tries once more to write the file.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.failed.IsZero() {
		if err := l.rewriteLocked(); err != nil {
			return errors.Join(err, l.file.Close())
		}
	}
	return l.file.Close()
}
