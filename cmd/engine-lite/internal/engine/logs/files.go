package logs

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"time"

	log "github.com/sirupsen/logrus"
)

// part is a file of a log that is open for reading.
type part struct {
	file       *os.File
	compressed bool
	number     int   // as in rotated
	from       int64 // where to begin
	size       int64 // where to end; both count bytes of the content, the end of a compressed one isn't known
	skip       int   // how many wanted entries to leave out
}

func (p *part) close() { _ = p.file.Close() }

// parts are files of one log, the oldest first.
type parts []part

func (p parts) close() {
	for i := range p {
		p[i].close()
	}
}

// timeSlack is how much later than its file a record may be: the kernel's clock for files lags behind.
const timeSlack = time.Second

// openParts opens the files of the log at path from a number on, count of them at most; negative for all. It leaves out
// rotated files without a record since a time. A log that isn't there has none.
func openParts(path string, newest, count int, since time.Time) (_ parts, err error) {
	var found parts
	defer func() {
		if err != nil {
			found.close()
		}
	}()
	for i, missing := newest, 0; missing < 2 && (count < 0 || i < newest+count); i++ { // see shelve
		p, err := openPart(path, i)
		if errors.Is(err, fs.ErrNotExist) {
			missing++
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read log: %w", err)
		}
		missing = 0
		found = append(parts{p}, found...)
		info, err := p.file.Stat()
		if err != nil {
			return nil, fmt.Errorf("cannot read log: %w", err)
		}
		if i > 0 && info.ModTime().Add(timeSlack).Before(since) {
			found = found[1:]
			p.close()
			continue
		}
		if !p.compressed {
			found[0].size = info.Size()
		}
	}
	return found, nil
}

// openPart opens a file in the one form or the other. The compressed one is complete before the plain one goes.
func openPart(path string, number int) (part, error) {
	p := part{number: number, size: math.MaxInt64}
	var err error
	p.file, err = os.Open(rotated(path, number))
	if number > 0 && errors.Is(err, fs.ErrNotExist) {
		p.compressed = true
		p.file, err = os.Open(compressed(rotated(path, number)))
	}
	return p, err
}

// read hands over the wanted entries.
func (p *part) read(ctx context.Context, o ReadOptions, fn func(Entry) error) error {
	var content io.Reader = io.NewSectionReader(p.file, p.from, p.size-p.from)
	if p.compressed {
		content = io.LimitReader(&unpacker{file: p.file}, p.size)
	}
	skip := p.skip
	return readEntries(ctx, content, o, func(e Entry) error {
		if skip > 0 {
			skip--
			return nil
		}
		return fn(e)
	})
}

// complete says that the file is a rotated one by now, and all of it can be read. One that somebody has emptied before is
// read from its beginning.
func (p *part) complete() error {
	info, err := p.file.Stat()
	if err != nil {
		return fmt.Errorf("cannot read log: %w", err)
	}
	if p.size = info.Size(); p.size < p.from {
		p.from = 0
	}
	return nil
}

// unpacker reads a compressed file. It ends where the file is damaged, with a warning, so that one damaged place doesn't
// hide the files behind it.
type unpacker struct {
	file *os.File
	z    *gzip.Reader
}

func (u *unpacker) Read(p []byte) (n int, err error) {
	if u.z == nil {
		u.z, err = gzip.NewReader(io.NewSectionReader(u.file, 0, math.MaxInt64))
	}
	if err == nil {
		n, err = u.z.Read(p)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		log.WithError(err).WithField("log", u.file.Name()).Warn(
			"a rotated log of a container is damaged; the answer leaves out the rest of that file")
		err = io.EOF
	}
	return n, err
}

// opening calls fn with the extent of the log. No rotation comes before fn has returned.
func (o *Output) opening(fn func(now extent) error) error {
	o.log.names.RLock()
	defer o.log.names.RUnlock()
	o.mu.Lock()
	now := o.log.extent
	o.mu.Unlock()
	return fn(now)
}

// openAll opens all files of the log that may have records since a time, and tells how long the current one is.
func (o *Output) openAll(since time.Time) (found parts, end extent, err error) {
	err = o.opening(func(now extent) error {
		end = now
		found, err = openParts(o.log.Path, 0, -1, since)
		return err
	})
	found.limit(0, end.size)
	return found, end, err
}

// openNewer opens the files since a rotation. ErrLagging if one of them is gone already.
func (o *Output) openNewer(rotations int) (found parts, end extent, err error) {
	err = o.opening(func(now extent) error {
		end = now
		found, err = openParts(o.log.Path, 0, now.rotations-rotations, time.Time{})
		return err
	})
	if err == nil && len(found) < end.rotations-rotations {
		found.close()
		return nil, end, ErrLagging
	}
	found.limit(0, end.size)
	return found, end, err
}

// openUntil opens the files of the log as they were at a moment. ErrLagging if the last of them is gone already.
func (o *Output) openUntil(end extent) (found parts, err error) {
	newest := 0
	err = o.opening(func(now extent) error {
		newest = now.rotations - end.rotations
		found, err = openParts(o.log.Path, newest, -1, time.Time{})
		return err
	})
	if err == nil && !found.limit(newest, end.size) && newest > 0 { // else somebody has removed it
		found.close()
		return nil, ErrLagging
	}
	return found, err
}

// limit sets how much of the newest file counts; false if that isn't the file with this number.
func (p parts) limit(number int, size int64) bool {
	if len(p) == 0 || p[len(p)-1].number != number {
		return false
	}
	p[len(p)-1].size = size
	return true
}
