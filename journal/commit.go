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

// Commit runs fn and returns once what it wrote, and the events it appended, are on disk, all or nothing.
//
// fn runs at most once, on the committer's goroutine, after all functions whose Commit has returned; while it runs,
// nothing else is committed, so it should be quick. It must not call Commit or Close. If it returns an error, Commit
// returns that error and nothing of fn is kept; so too if it panics, with a [*PanicError]. A fn that writes nothing
// costs no disk access.
//
// A ctx that ends before fn was taken keeps it from running: Commit returns the context's error. Later it has no effect,
// since the commit can't be called back: Commit waits for the disk and returns the true result.
//
// Other errors: [ErrClosed]; InvalidArgument for what Tx refuses; DataLoss where the file can't be understood;
// ResourceExhausted where the disk is full, and Internal where it refused to write for another reason: nothing was
// committed, and a later Commit may succeed; Unknown where the last sync failed, so that nobody can say whether a power
// loss would undo the commit. After Unknown, and after DataLoss while writing, every Commit returns Unavailable until
// the file is opened again.
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

// commitAll is the committer. It ends once the queue is closed and empty. A commit function that ends its goroutine, as
// testing.T.FailNow does, has its group fail and another committer started.
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

// commitTogether runs the functions of requests, commits the effects of those that succeed, and finishes all requests.
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

// transact runs the functions in one bbolt transaction. It puts the errors of single functions into results and returns
// one that concerns all the others.
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
	failed  error    // applying the effects of a function failed half-way
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
	g.events.FillPercent = 1 // keys only ever grow
	g.after.tx = g.tx.ID()
	return g, nil
}

// cannotBegin says why there is no group. Where bbolt panicked before there was a transaction, its write lock is lost.
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

// rollback ends the transaction unless commit has. Where bbolt can't, its write lock is lost.
func (g *group) rollback() {
	if g.tx == nil || g.tx.DB() == nil {
		return
	}
	if err := contain(g.tx.Rollback); err != nil {
		g.j.lose(err)
	}
}

// run runs one function and applies what it wrote if it succeeds.
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

// call runs a function of the user and contains its panics.
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

// apply writes the effects of a function into the transaction.
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

// append stores an event under the next number and moves the position behind it.
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

// storedSize is what an event counts in the file: its key, its value, and bbolt's header for the pair.
func storedSize(value int) uint64 { return uint64(8 + value + 16) }

// commit drops what is too old, writes the transaction to disk and tells the readers.
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

// explain classes the error of a failed transaction with that number, by whether readers see it nevertheless.
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
