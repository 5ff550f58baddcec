package journal

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// ErrClosed is returned by everything that needs an open journal once Close was called. Its class is Unavailable.
var ErrClosed = fmt.Errorf("journal is closed: %w", errdefs.ErrUnavailable)

// ErrInUse is returned by [Open] where another process has the journal open, or this one. Its class is FailedPrecondition.
var ErrInUse = fmt.Errorf("it is in use: %w", errdefs.ErrFailedPrecondition)

// TooOldError says that a cursor asked for an event that is no longer kept. Its class is OutOfRange.
type TooOldError struct {
	// After is the cursor's position: the event after it was asked for.
	After uint64
	// Oldest is the number of the oldest event still kept, or of the next one to come if none is.
	Oldest uint64
}

// Error implements error.
func (e *TooOldError) Error() string {
	return fmt.Sprintf("cannot read events after %d: the oldest still kept is %d", e.After, e.Oldest)
}

// Unwrap gives the error its class.
func (e *TooOldError) Unwrap() error { return errdefs.ErrOutOfRange }

// TooNewError says that a cursor stands behind the newest event, as one does that belongs to another journal (see
// [Journal.ID]). Its class is OutOfRange.
type TooNewError struct {
	// After is the cursor's position.
	After uint64
	// Newest is the number of the newest event, 0 if there was none yet.
	Newest uint64
}

// Error implements error.
func (e *TooNewError) Error() string {
	return fmt.Sprintf("cannot read events after %d: the newest is %d", e.After, e.Newest)
}

// Unwrap gives the error its class.
func (e *TooNewError) Unwrap() error { return errdefs.ErrOutOfRange }

// PanicError is what Commit returns when its function panicked; nothing of that function was committed. Its class is
// Internal.
type PanicError struct {
	// Value is what was passed to panic.
	Value any
	// Stack is the stack of the panic, as runtime/debug.Stack formats it.
	Stack []byte
}

// Error implements error. The stack is not part of it.
func (e *PanicError) Error() string {
	return fmt.Sprintf("panic in a commit function: %v", e.Value)
}

// Unwrap gives the error its class.
func (e *PanicError) Unwrap() error { return errdefs.ErrInternal }
