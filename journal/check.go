package journal

import (
	"context"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Torn reports whether one of the two meta pages was damaged when the journal was opened. The journal uses the other
// page then, which may be a commit older. A crash during a commit that had not returned has that effect. If the disk
// does not keep data that it has synced, an acknowledged commit may be missing. The next two commits write both pages
// anew.
func (j *Journal) Torn() bool { return j.torn }

// Check reads the whole file as one commit left it, and calls report for each thing that is wrong: damaged pages, wrong
// checksums, gaps in the numbers of events, and wrong stamps, by which events are found. It stops at the first damaged
// page. Commits and reads go on meanwhile, but the space of deleted values can't be used again.
//
// Errors: ctx's, [ErrClosed], and those of reading the file. A finding is not an error.
func (j *Journal) Check(ctx context.Context, report func(finding string)) error {
	for torn := 0; ; {
		again := false
		err := j.read(func(tx *bolt.Tx) error {
			metas, whole := readMetas(j.file)
			m := metas[0]
			if m.txid != uint64(tx.ID()) {
				m = metas[1]
			}
			if !whole && torn < tornReads {
				torn++ // a commit may be writing the page: a read beside a write sees a part of it
				again = true
				return nil
			}
			if again = m.txid != uint64(tx.ID()) && whole; again {
				return nil // two commits came in between: the meta page of this one is overwritten
			}
			if !whole {
				report("one of the two meta pages is corrupt: the last commit may be missing")
			}
			return j.check(ctx, m, report)
		})
		if !again || err != nil {
			return err
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("cannot check the journal: %w", ctx.Err())
		}
	}
}

// tornReads is how often a damaged meta page is read again, with a millisecond between, before it counts as damaged.
const tornReads = 20

func (j *Journal) check(ctx context.Context, m meta, report func(string)) error {
	info, err := j.file.Stat()
	if err != nil {
		return err
	}
	c := checker{report: report}
	w, err := checkPages(j.file, info.Size(), m, func(bucket string, key, sealed []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.item(bucket, key, sealed)
		return nil
	})
	if ctx.Err() != nil {
		return fmt.Errorf("cannot check the journal: %w", ctx.Err())
	}
	if err != nil {
		report(err.Error())
		return nil
	}
	if newest := w.sequences[eventsBucket]; c.last != newest && (c.last != 0 || newest != 0) {
		report(fmt.Sprintf("the newest event is %d, and should be %d", c.last, newest))
	}
	return nil
}

// checker checks one value after another, in the order of the keys.
type checker struct {
	report func(string)
	last   uint64 // number of the last event
	stamp  stamp  // the next event has at least these times, and exactly this start
}

func (c *checker) item(bucket string, key, sealed []byte) {
	switch bucket {
	case recordsBucket:
		if _, err := unseal(key, sealed); err != nil {
			c.report("record: " + err.Error())
		}
	case eventsBucket:
		c.event(key, sealed)
	}
}

func (c *checker) event(key, sealed []byte) {
	seq := seqOf(key)
	if c.last != 0 && seq != c.last+1 {
		c.report(fmt.Sprintf("event %d comes after event %d", seq, c.last))
	}
	first := c.last == 0
	c.last = seq
	if _, err := openEvent(key, sealed); err != nil {
		c.report(fmt.Sprintf("event %d: %v", seq, err))
		c.stamp.start += storedSize(len(sealed))
		return
	}
	s, _, _ := decodeStamp(sealed[checksumSize:]) // openEvent has
	if !first && (s.start != c.stamp.start || s.mark < c.stamp.mark || s.appended < c.stamp.appended) {
		c.report(fmt.Sprintf("event %d is not where the one before it ends, in bytes or in time", seq))
	}
	c.stamp = s
	c.stamp.start += storedSize(len(sealed))
}
