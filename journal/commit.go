package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
)

// Commit runs fn, and returns when all records that fn wrote and all events that fn appended are on disk. After an
// error none of them is kept, except after one of class Unknown.
//
// fn runs at most once, on the committer's goroutine, after all functions whose Commit has returned. While fn runs, no
// other commit goes on, so it should be quick. It must not call Commit or Close. If fn returns an error, Commit returns
// that error. If fn panics, Commit returns a [*PanicError]. If fn writes nothing, the disk is not used.
//
// If ctx ends before the committer has taken fn, fn does not run and Commit returns ctx's error. If ctx ends later,
// Commit still waits for the disk and returns the result.
//
// Other errors: [ErrClosed]. InvalidArgument for arguments that Tx refuses. DataLoss if the file is damaged.
// ResourceExhausted if the disk is full, and Internal if the disk refused to write for another reason: a later Commit
// may succeed. Unknown if the last sync failed: a power loss may or may not undo the commit. After an error of class
// Unknown, and after DataLoss while writing, every Commit returns Unavailable until the file is opened again.
func (j *Journal) Commit(ctx context.Context, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("cannot commit to the journal: %w", err)
	}
	r := newRequest(fn)
	if err := j.queue.put(r); err != nil {
		return err
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		if r.withdraw() {
			return fmt.Errorf("cannot commit to the journal: %w", ctx.Err())
		}
		<-r.done
	}
	return r.err
}

// commitAll is the committer. It ends when the queue is closed and empty. If a commit function ends the goroutine, as
// testing.T.FailNow does, its group of commits fails and another committer starts.
func (j *Journal) commitAll() {
	debug.SetPanicOnFault(true)
	ended := false
	defer func() {
		if !ended {
			j.committer.Go(j.commitAll)
		}
	}()
	for {
		requests, ok := j.queue.take()
		if !ok {
			ended = true
			return
		}
		if len(requests) > 0 {
			j.commitTogether(requests)
		}
	}
}

// commitTogether runs the functions of the requests, commits the writes of those that succeed, and finishes all
// requests.
func (j *Journal) commitTogether(requests []*request) {
	results := make([]error, len(requests))
	err := fmt.Errorf("cannot commit to the journal: a commit function ended the committer: %w", errdefs.ErrInternal)
	defer func() {
		for i, r := range requests {
			if results[i] == nil {
				results[i] = err
			}
			r.finish(results[i])
		}
	}()
	err = j.transact(requests, results)
}

// transact runs the functions in one bbolt transaction. It puts the errors of single functions into results, and
// returns the error of all the others.
func (j *Journal) transact(requests []*request, results []error) error {
	g, err := j.beginGroup()
	if err != nil {
		return err
	}
	defer g.rollback()
	for i, r := range requests {
		results[i] = g.run(r.fn)
	}
	if g.failed != nil {
		err := fmt.Errorf("cannot write to journal %s: %v: %w", j.path, g.failed, errdefs.ErrDataLoss)
		j.fail(err)
		return err
	}
	if !g.dirty {
		return nil
	}
	return g.commit()
}

// group is one bbolt transaction that is being filled by the committer.
type group struct {
	j       *Journal
	tx      *bolt.Tx
	records bucket
	events  bucket
	before  position // as it is on disk
	after   position // as it will be
	dirty   bool     // there is something to commit
	failed  error    // why the writes of a function could be applied in part only
}

func (j *Journal) beginGroup() (*group, error) {
	s := j.current()
	if s.broken != nil {
		return nil, fmt.Errorf("journal %s takes no commits until it is opened again: %v: %w",
			j.path, s.broken, errdefs.ErrUnavailable)
	}
	g := &group{j: j, before: s.position, after: s.position}
	err := contain(func() (err error) {
		if g.tx, err = j.db.Begin(true); err != nil {
			return err
		}
		if g.records, err = openBucket(g.tx, recordsBucket); err != nil {
			return err
		}
		g.events, err = openBucket(g.tx, eventsBucket)
		return err
	})
	if err != nil {
		g.rollback()
		return nil, g.cannotBegin(err)
	}
	g.j.keepReserve(g.tx.Size())
	g.events.FillPercent = 1 // full pages: each new key is greater than all others
	g.after.tx = g.tx.ID()
	return g, nil
}

// cannotBegin returns the error of beginGroup. If bbolt panicked before there was a transaction, its write lock is
// lost.
func (g *group) cannotBegin(err error) error {
	err = fmt.Errorf("cannot begin a transaction in journal %s: %w", g.j.path, err)
	switch {
	case !errdefs.IsDataLoss(err):
	case g.tx == nil:
		g.j.lose(err)
	default:
		g.j.fail(err)
	}
	return err
}

// rollback ends the transaction unless commit has ended it. If bbolt can't, its write lock is lost.
func (g *group) rollback() {
	if g.tx == nil || g.tx.DB() == nil {
		return
	}
	if err := contain(g.tx.Rollback); err != nil {
		g.j.lose(err)
	}
}

// run runs one function, and applies its writes if it succeeds.
func (g *group) run(fn func(*Tx) error) error {
	if g.failed != nil {
		return nil // gets the error of the group
	}
	t := &Tx{records: g.records, next: g.after.newest + 1, now: g.j.opts.Now, formats: [2]uint32{g.after.format, g.j.opts.Format}}
	if err := call(fn, t); err != nil {
		return err
	}
	if t.invalid != nil {
		return t.invalid
	}
	if !t.dirty() {
		return nil
	}
	g.dirty = true
	g.failed = contain(func() error { return g.apply(t) })
	return nil
}

// call runs a function of the user, and returns its panic as an error.
func call(fn func(*Tx) error, t *Tx) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case corruption:
			err = v.err
		default:
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return fn(t)
}

// apply puts the writes and events of a function into the transaction.
func (g *group) apply(t *Tx) error {
	for _, k := range slices.Sorted(maps.Keys(t.staged)) {
		w, key := t.staged[k], []byte(k)
		if w.deleted {
			if err := g.records.Delete(key); err != nil {
				return err
			}
			continue
		}
		if err := g.records.Put(key, seal(key, w.value)); err != nil {
			return err
		}
	}
	if t.format != 0 {
		g.after.format = t.format
		if err := g.tx.Bucket([]byte(journalBucket)).Put([]byte(formatKey), binary.BigEndian.AppendUint32(nil, t.format)); err != nil {
			return err
		}
	}
	for i, e := range t.events {
		if err := g.append(e.Time.UnixNano(), t.encoded[i]); err != nil {
			return err
		}
	}
	return nil
}

// append stores an event under the next number, and moves the position behind the event.
func (g *group) append(at int64, body []byte) error {
	p := &g.after
	seq := p.newest + 1
	s := stamp{
		appended: max(p.tail.appended, g.j.opts.Now().UnixNano()),
		mark:     max(p.tail.mark, at),
		start:    p.tail.start,
	}
	key := eventKey(seq)
	value := seal(key, append(encodeStamp(make([]byte, 0, stampSize+len(body)), s), body...))
	if err := g.events.Put(key, value); err != nil {
		return err
	}
	if seq == p.oldest {
		p.first = s
	}
	p.newest = seq
	p.tail = s
	p.tail.start += storedSize(len(value))
	return g.events.SetSequence(seq)
}

// storedSize returns the bytes that an event counts for: its key, its value, and bbolt's header for both.
func storedSize(value int) uint64 { return uint64(8 + value + 16) }

// commit drops events that are too old, writes the transaction to disk, and wakes the readers.
func (g *group) commit() error {
	err := contain(func() error {
		if err := g.retain(); err != nil {
			return err
		}
		return g.tx.Commit()
	})
	if err != nil {
		return g.j.explain(err, g.after.tx)
	}
	g.j.change(func(s *state) { s.position, s.refused = g.after, nil })
	return nil
}

// explain gives the error of a failed transaction with that number its class. The class is Unknown if readers see the
// transaction all the same.
func (j *Journal) explain(err error, number int) error {
	if errdefs.IsDataLoss(err) {
		err = fmt.Errorf("cannot write to journal %s: %w", j.path, err)
		j.fail(err)
		return err
	}
	visible := false
	tx, viewErr := j.beginRead()
	if viewErr == nil {
		visible = tx.ID() >= number
		viewErr = contain(tx.Rollback)
	}
	if visible || viewErr != nil {
		err = fmt.Errorf("cannot tell whether a commit to journal %s is safe: %v: %w",
			j.path, errors.Join(err, viewErr), errdefs.ErrUnknown)
		j.fail(err)
		return err
	}
	var class error = errdefs.ErrInternal
	if isFull(err) {
		class = errdefs.ErrResourceExhausted
	}
	err = fmt.Errorf("cannot write to journal %s: %w: %w", j.path, err, class)
	j.change(func(s *state) { s.refused = err })
	return err
}

// fail makes the journal refuse commits from now on.
func (j *Journal) fail(err error) { j.change(func(s *state) { s.broken = err }) }
