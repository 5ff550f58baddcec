package journal

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// ErrClosed is the error of all methods that need an open journal, after Close was called. Its class is Unavailable.
var ErrClosed = fmt.Errorf("journal is closed: %w", errdefs.ErrUnavailable)

// ErrInUse is the error of [Open] if another process, or this one, has the journal open. Its class is
// FailedPrecondition.
var ErrInUse = fmt.Errorf("it is in use: %w", errdefs.ErrFailedPrecondition)

// TooOldError says that the next event of a cursor has been dropped. Its class is OutOfRange.
type TooOldError struct {
	// After is the cursor's position: the number before that of the dropped event.
	After uint64
	// Oldest is the number of the oldest event that is kept. If none is kept, it is the number of the next event to
	// come.
	Oldest uint64
}

// Error implements error.
func (e *TooOldError) Error() string {
	return fmt.Sprintf("cannot read events after %d: the oldest still kept is %d", e.After, e.Oldest)
}

// Unwrap gives the error its class.
func (e *TooOldError) Unwrap() error { return errdefs.ErrOutOfRange }

// TooNewError says that a cursor's position is greater than the number of the newest event. Such a position belongs to another journal (see
// [Journal.ID]). The class is OutOfRange.
type TooNewError struct {
	// After is the cursor's position.
	After uint64
	// Newest is the number of the newest event, 0 if there has been none.
	Newest uint64
}

// Error implements error.
func (e *TooNewError) Error() string {
	return fmt.Sprintf("cannot read events after %d: the newest is %d", e.After, e.Newest)
}

// Unwrap gives the error its class.
func (e *TooNewError) Unwrap() error { return errdefs.ErrOutOfRange }

// PanicError is the error of a Commit whose function has panicked. Nothing of that function was committed. Its class is
// Internal.
type PanicError struct {
	// Value is the argument of panic.
	Value any
	// Stack is the stack of the panic, as runtime/debug.Stack formats it.
	Stack []byte
}

// Error implements error. The text does not have the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("panic in a commit function: %v", e.Value)
}

// Unwrap gives the error its class.
func (e *PanicError) Unwrap() error { return errdefs.ErrInternal }
