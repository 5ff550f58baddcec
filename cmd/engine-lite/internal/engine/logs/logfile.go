package logs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"

	log "github.com/sirupsen/logrus"
)

// positionSize is the size of the file that says how far the encoder came: the
// log's size and the position in each stream, 8 bytes each, big endian.
const positionSize = 8 + 8*len(streamNames)

// logFile is the json-file log and how far it is known to be right.
type logFile struct {
	Log
	file, position *os.File
	// unnoted says that the file is a new one, and that the note is of the one before it. The encoder has it.
	unnoted bool
	// extent is written by the encoder only, with the output's lock.
	extent
	// names is held over the renames of a rotation, and by readers while they open the files. Who holds it takes the
	// output's lock, never the other way round.
	names sync.RWMutex
}

// extent is how long the log's current file is, how many files it had before it in the output's time, and how often
// someone else has emptied the log.
type extent struct {
	size              int64
	rotations, resets int
}

// full says whether the next record goes to another file.
func (l *logFile) full() bool { return l.MaxSize > 0 && l.size >= l.MaxSize }

// room is how many bytes go to one file, the last record not counted.
func (l *logFile) room() int64 {
	switch {
	case l.MaxSize <= 0:
		return math.MaxInt64
	case l.full():
		return l.MaxSize
	default:
		return l.MaxSize - l.size
	}
}

func openLogFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
}

// openLog opens the log, cuts off what was appended after the last noted
// position, and sets the streams' positions.
func openLog(config Log, positionPath string, streams *[len(streamNames)]*raw) (*logFile, error) {
	file, err := openLogFile(config.Path)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	l := &logFile{Log: config, file: file}
	if l.position, err = os.OpenFile(positionPath, os.O_RDWR|os.O_CREATE, 0o600); err == nil {
		err = l.resume(streams)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("log: %w", err), l.close())
	}
	return l, nil
}

// resume takes up the noted position.
func (l *logFile) resume(streams *[len(streamNames)]*raw) error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	var p [positionSize]byte
	n, err := l.position.ReadAt(p[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	size := info.Size()
	if n == positionSize {
		if noted := int64(binary.BigEndian.Uint64(p[:8])); noted >= 0 && noted < size {
			size = noted
		}
		l.adopt(p[8:], streams)
	}
	// It ends with a whole record, unless the machine lost its power or the log
	// was emptied meanwhile.
	if size, err = lastRecordEnd(l.file, size); err != nil {
		return err
	}
	if size < info.Size() {
		if err := l.file.Truncate(size); err != nil {
			return err
		}
	}
	l.size = size
	return l.note(encodedOf(streams))
}

// adopt sets how much of each stream is encoded. A stream that is shorter than
// noted lost its end with the machine's power.
func (l *logFile) adopt(noted []byte, streams *[len(streamNames)]*raw) {
	for i, r := range streams {
		if r == nil {
			continue
		}
		at := int64(binary.BigEndian.Uint64(noted[8*i:]))
		if at < 0 || at > r.size {
			log.WithField("log", l.file.Name()).Warnf(
				"the raw file of %s has %d bytes and should have %d; the missing output is lost", r.name, r.size, at)
			at = r.size
		}
		r.encoded = at // an earlier engine's followers may have kept it from being freed
	}
}

func encodedOf(streams *[len(streamNames)]*raw) (at [len(streamNames)]int64) {
	for i, r := range streams {
		if r != nil {
			at[i] = r.encoded
		}
	}
	return at
}

// lastRecordEnd is where the last whole line before end ends.
func lastRecordEnd(file io.ReaderAt, end int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for end > 0 {
		block := buf[:min(end, int64(len(buf)))]
		if _, err := file.ReadAt(block, end-int64(len(block))); err != nil {
			return 0, err
		}
		end -= int64(len(block))
		if i := bytes.LastIndexByte(block, '\n'); i >= 0 {
			return end + int64(i) + 1, nil
		}
	}
	return 0, nil
}

// note writes down that the log is right up to its size, and has so much of each
// stream. One write of so few bytes is not torn by a kill.
func (l *logFile) note(at [len(streamNames)]int64) error {
	return l.noteSize(l.size, at)
}

func (l *logFile) noteSize(size int64, at [len(streamNames)]int64) error {
	var p [positionSize]byte
	binary.BigEndian.PutUint64(p[:8], uint64(size))
	for i, n := range at {
		binary.BigEndian.PutUint64(p[8+8*i:], uint64(n))
	}
	_, err := l.position.WriteAt(p[:], 0)
	return err
}

func (l *logFile) close() error {
	var errs []error
	for _, f := range []*os.File{l.file, l.position} {
		if f == nil {
			continue
		}
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
