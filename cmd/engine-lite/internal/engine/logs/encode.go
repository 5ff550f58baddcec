package logs

import (
	"sync"
	"time"
)

const (
	// encodeChunk is what the encoder reads at once.
	encodeChunk = 256 << 10
	// keepBuffer is the longest buffer for records that is kept for later.
	keepBuffer = 1 << 20
)

// batch is the memory that one batch of records is made in.
type batch struct {
	in, out []byte
}

var batches = sync.Pool{New: func() any { return &batch{in: make([]byte, encodeChunk)} }}

// kickLocked starts the encoder's goroutine if there is something to do and it
// doesn't run. It ends when nothing is left to do, and at Close.
func (o *Output) kickLocked() {
	if o.log == nil || o.encoding || o.closed || o.pendingLocked() < 0 {
		return
	}
	o.encoding = true
	o.wg.Go(o.encode)
}

// pendingLocked finds a stream with something to encode, the two in turns.
func (o *Output) pendingLocked() int {
	if !o.started {
		return -1
	}
	for k := range o.streams {
		i := (o.turn + k) % len(o.streams)
		if r := o.streams[i]; r != nil && r.pending() {
			return i
		}
	}
	return -1
}

// encode turns what came into records until nothing is left to do.
func (o *Output) encode() {
	b := batches.Get().(*batch)
	defer func() {
		if cap(b.out) <= keepBuffer {
			batches.Put(b)
		}
	}()
	for {
		o.mu.Lock()
		i := o.pendingLocked()
		if i < 0 || o.closed {
			o.encoding = false
			o.settleLocked()
			o.mu.Unlock()
			return
		}
		o.turn = i + 1
		r := o.streams[i]
		at, size, ended := r.encoded, r.size, r.ended
		o.mu.Unlock()
		o.encodeBatch(b, i, at, size, ended)
	}
}

// encodeBatch encodes the whole lines of one chunk, and the rest of a stream
// that has ended, as far as they fit into the log's file. It fails only at Close.
func (o *Output) encodeBatch(b *batch, i int, at, size int64, ended bool) {
	r := o.streams[i]
	if to, err := o.skipTo(r, at, size, b.in); err == nil && to > at {
		o.drop(i, to, errBuffer)
		return
	}
	room := o.log.room()
	in := b.in[:min(int64(len(b.in)), size-at, max(room, maxRecord))]
	if err := o.persist(func() error { _, err := r.file.ReadAt(in, at); return err }); err != nil {
		o.drop(i, at+int64(len(in)), err)
		return
	}
	last := ended && at+int64(len(in)) == size
	var used int
	b.out, used = appendRecords(b.out[:0], in, form{stream: r.name, time: time.Now(), attrs: o.config.Log.Attrs}, last, room)
	if used == 0 {
		o.mu.Lock()
		r.seen = size
		o.mu.Unlock()
		return
	}
	if err := o.persist(func() error { return o.append(b.out, i, at+int64(used)) }); err != nil {
		o.drop(i, at+int64(used), err)
	}
	o.free(r)
}

// append writes records to the log and notes that stream i is in it up to at.
// Repeated after an error, it writes the same bytes to the same place.
func (o *Output) append(records []byte, i int, at int64) error {
	l := o.log
	o.mu.Lock()
	positions := encodedOf(&o.streams)
	o.mu.Unlock()
	if err := o.catchReset(positions); err != nil {
		return err
	}
	if err := o.rotateFull(positions); err != nil {
		return err
	}
	if _, err := l.file.WriteAt(records, l.size); err != nil {
		return err
	}
	grown := l.size + int64(len(records))
	positions[i] = at
	if err := l.noteSize(grown, positions); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.streams[i].encoded, l.size = at, grown
	o.changedLocked()
	return nil
}

// catchReset goes on at the log's end where someone has emptied it, as people do
// to make room.
func (o *Output) catchReset(positions [len(streamNames)]int64) error {
	l := o.log
	info, err := l.file.Stat()
	if err != nil || info.Size() >= l.size {
		return err
	}
	if err := l.noteSize(info.Size(), positions); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	l.size = info.Size()
	l.resets++
	return nil
}

// rotateFull begins a new file if the log is full. The old one is complete then, and all of it is noted. The note for the
// new one comes before its first record: until then an engine that finds the old note, and a file shorter than noted,
// goes on with that file at its beginning.
func (o *Output) rotateFull(positions [len(streamNames)]int64) error {
	l := o.log
	if l.full() {
		if err := o.rotate(); err != nil {
			return err
		}
	}
	if !l.unnoted {
		return nil
	}
	if err := l.noteSize(l.size, positions); err != nil {
		return err
	}
	l.unnoted = false
	return nil
}

// rotate puts the full file aside. After an error it is called again, and goes on.
func (o *Output) rotate() error {
	if err := o.awaitCompressed(); err != nil {
		return err
	}
	l := o.log
	l.names.Lock()
	defer l.names.Unlock()
	if err := l.shelve(); err != nil {
		return err
	}
	file, err := openLogFile(l.Path)
	if err != nil {
		return err
	}
	if err := l.file.Close(); err != nil {
		o.entry(err).WithField("log", l.Path).Warn("cannot close a rotated log")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	l.file, l.size, l.unnoted = file, 0, true
	l.rotations++
	o.compressLocked()
	return nil
}

// persist repeats fn with growing delays until it succeeds or the output is
// closed: a full disk makes the process wait, and loses nothing. A lossy log has
// one try.
func (o *Output) persist(fn func() error) error {
	for delay := newBackoff(); ; {
		err := fn()
		if err == nil {
			if !delay.First() {
				o.tookDisk(true)
			}
			return nil
		}
		if o.lossy() {
			return err
		}
		o.tookDisk(false)
		if delay.First() {
			o.entry(err).WithField("log", o.config.Log.Path).Error(
				"cannot write the output of a process to its log; trying again, and the process may have to wait")
		}
		if err := delay.Wait(o.ctx); err != nil {
			return err
		}
	}
}
