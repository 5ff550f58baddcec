package ocilog

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

// Key returns the name of a container's log. root is the value of --root that the
// caller of the command line gave, and may be empty.
func Key(root, id string) string {
	sum := sha256.Sum256([]byte(root + "\x00" + id))
	return hex.EncodeToString(sum[:])[:keyLength]
}

// Gone reports whether dir has the retired log of a container.
func Gone(dir, run string) bool {
	_, err := os.Lstat(filepath.Join(dir, gonePrefix+run))
	return err == nil
}

// NewRun returns a random name for a container: 32 hexadecimal digits.
func NewRun() string {
	var name [16]byte
	_, _ = rand.Read(name[:]) // never fails: crypto/rand
	return hex.EncodeToString(name[:])
}

// IsLog reports whether a file with that name, in the directory of the logs, is a log.
func IsLog(name string) bool {
	return len(name) == keyLength && strings.Trim(name, "0123456789abcdef") == "" || Retired(name)
}

// Retired reports whether a log with that name is one of a deleted container.
func Retired(name string) bool { return strings.HasPrefix(name, gonePrefix) }

// Log is the open log of a container, whose lock the process has until Close.
type Log struct {
	State State

	dir, path string
	file      *os.File
}

// Open opens the log of a container, waits for its lock and reads it. The caller
// closes the log. Where there is no log, Open makes one if create is true.
//
// Errors: NotFound for no log without create. Unavailable if ctx ends before the
// lock is free. Others are those of the file system.
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
			continue // renamed or removed while we waited for the lock
		}
		l.file = file
		if err := l.read(); err != nil {
			return nil, errors.Join(err, l.Close())
		}
		return l, nil
	}
}

// openNamed opens and locks a file. It returns nil if the path names another file,
// or none, when the lock is there.
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

// named reports whether the path still names the file.
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

// Append writes a line and adds it to the state. A line without a time gets the
// present time.
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

// Retire renames the log of a deleted container, so that the container's id is
// free. The engine removes the log when it has read it.
func (l *Log) Retire() error {
	gone := filepath.Join(l.dir, gonePrefix+l.State.Container.Run)
	if err := os.Rename(l.path, gone); err != nil {
		return err
	}
	l.path = gone
	return nil
}

// Name returns the name of the log in its directory.
func (l *Log) Name() string { return filepath.Base(l.path) }

// Discard removes the log of a container that was never created.
func (l *Log) Discard() error { return os.Remove(l.path) }

// PidFile returns the path to which the OCI runtime writes the container's process id.
func PidFile(dir, run string) string { return filepath.Join(dir, run+".pid") }

// Close releases the lock and closes the file.
func (l *Log) Close() error { return l.file.Close() }

// Peek reads the state of a container without the lock. The error is of class
// NotFound if the container has no log.
func Peek(dir, key string) (State, error) {
	data, err := os.ReadFile(filepath.Join(dir, key))
	if errors.Is(err, os.ErrNotExist) {
		return State{}, fmt.Errorf("%w: %w", err, errdefs.ErrNotFound)
	}
	return stateOf(data), err
}

// Idle reports whether no process has the lock of a log and the log has that many
// bytes. A reader that has read that many bytes knows then that no command is about
// to write more.
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
