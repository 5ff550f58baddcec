// Package flock locks files with flock(2). Such a lock belongs to the open file: it ends when the file is closed or
// the process ends. It keeps other programs away that ask for the lock too, and nobody else.
package flock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/internal/retry"
)

// Mode is the kind of a lock.
type Mode int

const (
	// Exclusive is a lock that one open file has, and nobody else.
	Exclusive Mode = unix.LOCK_EX
	// Shared is a lock that several open files may have, while none has an exclusive one.
	Shared Mode = unix.LOCK_SH
)

// Patience is how long to wait for the lock of a process that was killed. The threads of such a process end one by one,
// and the last one closes its files.
const Patience = 2 * time.Second

// poll is the pause between two tries. A try takes about a microsecond. A call that blocks in the kernel instead could
// not be ended by a context.
const poll = 2 * time.Millisecond

// ErrTaken says that another open file has the lock. Its class is Unavailable.
var ErrTaken = classed.Errorf(errdefs.ErrUnavailable, "the lock is taken")

// Lock takes the lock of a file, and waits for it until ctx ends. It tries once even if ctx has ended already. A file
// that has a lock changes its mode.
//
// Errors: ErrTaken, together with the cause of ctx's end, if another open file has the lock for so long.
func Lock(ctx context.Context, file *os.File, mode Mode) error {
	for {
		err := Try(file, mode)
		if !errors.Is(err, ErrTaken) {
			return err
		}
		if cause := retry.Sleep(ctx, poll); cause != nil {
			return fmt.Errorf("%w: %w", err, cause)
		}
	}
}

// Try takes the lock of a file if that is possible at once. Errors: ErrTaken if another open file has the lock.
func Try(file *os.File, mode Mode) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot lock %s: %w", file.Name(), err)
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = try(int(fd), mode) }); err != nil {
		return fmt.Errorf("cannot lock %s: %w", file.Name(), err)
	}
	if errors.Is(inner, unix.EWOULDBLOCK) {
		return ErrTaken
	}
	if inner != nil {
		return fmt.Errorf("cannot lock %s: %w", file.Name(), inner)
	}
	return nil
}

// try repeats a call that a signal has interrupted.
func try(fd int, mode Mode) error {
	for {
		err := unix.Flock(fd, int(mode)|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Open opens the file at path for reading and writing, makes it (0600) if it is missing, and takes its exclusive lock.
// It waits for the lock for at most patience; with 0 it tries once. The caller closes the file, which ends the lock.
//
// The file must stay where it is: a lock of a removed or renamed file keeps nobody away who opens the path anew.
//
// Errors: ErrTaken if another open file has the lock for so long.
func Open(path string, patience time.Duration) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := Lock(ctx, file, Exclusive); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
