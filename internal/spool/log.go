package spool

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/flock"
)

const (
	keyLength  = 32
	gonePrefix = "gone."
)

// Key is the name of a container's log. Root is what the caller of the command
// line gave, not where the runtime is.
func Key(root, id string) string {
	sum := sha256.Sum256([]byte(root + "\x00" + id))
	return hex.EncodeToString(sum[:])[:keyLength]
}

// Gone tells whether there is a log of a container that is gone.
func Gone(dir, run string) bool {
	_, err := os.Lstat(filepath.Join(dir, gonePrefix+run))
	return err == nil
}

// NewRun makes a random name for a container.
func NewRun() string {
	var name [16]byte
	_, _ = rand.Read(name[:]) // never fails: crypto/rand
	return hex.EncodeToString(name[:])
}

// IsLog tells whether a file of the spool's directory is a log.
func IsLog(name string) bool {
	return len(name) == keyLength && strings.Trim(name, "0123456789abcdef") == "" || Retired(name)
}

// Retired tells whether a log is one of a container that is gone.
func Retired(name string) bool { return strings.HasPrefix(name, gonePrefix) }

// Log is a container's log with its lock.
type Log struct {
	State State

	dir, path string
	file      *os.File
}

// Open opens the log of a container, waits for its lock and reads it. With
// create it makes one where there is none; else that is of class NotFound. A
// lock that doesn't come before ctx ends is of class Unavailable. The caller
// closes the log.
func Open(ctx context.Context, dir, key string, create bool) (*Log, error) {
	l := &Log{dir: dir, path: filepath.Join(dir, key)}
	flags := os.O_RDWR | os.O_APPEND
	if create {
		flags |= os.O_CREATE
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	for {
		file, err := openNamed(ctx, l.path, flags)
		if err != nil {
			return nil, err
		}
		if file == nil {
			continue // renamed or removed while it was waited for
		}
		l.file = file
		if err := l.read(); err != nil {
			return nil, errors.Join(err, l.Close())
		}
		return l, nil
	}
}

// openNamed opens and locks a file; nil if by then the path is another's.
func openNamed(ctx context.Context, path string, flags int) (*os.File, error) {
	file, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if err := lock(ctx, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if !named(file, path) {
		return nil, file.Close()
	}
	return file, nil
}

func lock(ctx context.Context, file *os.File) error {
	err := flock.Lock(ctx, file, flock.Exclusive)
	if errors.Is(err, flock.ErrTaken) {
		return fmt.Errorf("another command is at work on the container: %w: %w", ctx.Err(), errdefs.ErrUnavailable)
	}
	return err
}

// named tells whether the path still leads to the file.
func named(file *os.File, path string) bool {
	ours, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(ours, there)
}

func (l *Log) read() error {
	data, err := io.ReadAll(l.file)
	if err != nil {
		return err
	}
	l.State = stateOf(data)
	return nil
}

// Append writes a line. One without a time gets the present one.
func (l *Log) Append(line Line) error {
	if line.Time.IsZero() {
		line.Time = time.Now().UTC()
	}
	text, err := line.encode()
	if err == nil {
		_, err = l.file.Write(text)
	}
	if err != nil {
		return fmt.Errorf("cannot note the container's %s: %w", line.Action, err)
	}
	l.State.Add(line)
	return nil
}

// Retire gives the name free when the container is gone. The engine removes
// the log when it has read it.
func (l *Log) Retire() error {
	gone := filepath.Join(l.dir, gonePrefix+l.State.Container.Run)
	if err := os.Rename(l.path, gone); err != nil {
		return err
	}
	l.path = gone
	return nil
}

// Name is the log's name in its directory.
func (l *Log) Name() string { return filepath.Base(l.path) }

// Discard removes a log with nothing in it that anybody was told of.
func (l *Log) Discard() error { return os.Remove(l.path) }

// PidFile is where the OCI runtime writes the container's process id.
func PidFile(dir, run string) string { return filepath.Join(dir, run+".pid") }

// Close gives the lock back.
func (l *Log) Close() error { return l.file.Close() }

// Peek reads where a container stands, without the lock. No log is of class
// NotFound.
func Peek(dir, key string) (State, error) {
	data, err := os.ReadFile(filepath.Join(dir, key))
	if errors.Is(err, os.ErrNotExist) {
		return State{}, fmt.Errorf("%w: %w", err, errdefs.ErrNotFound)
	}
	return stateOf(data), err
}

// Idle tells whether nobody is at work on a log of which that many bytes were
// read: what isn't in them nobody is about to write.
func Idle(path string, size int64) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	if flock.Try(file, flock.Shared) != nil {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Size() == size
}
