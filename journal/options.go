package journal

import "time"

const (
	defaultLockTimeout = time.Second
	defaultMaxAge      = 7 * 24 * time.Hour
	defaultMaxBytes    = 64 << 20
)

// Options configure [Open]. The zero value is good for production.
type Options struct {
	// LockTimeout is how long Open waits while another process has the journal open. It is rounded up to 2 ms. 0 means
	// one second; with a negative value Open does not wait.
	LockTimeout time.Duration
	// MaxAge is how long events are kept at least after they were appended. 0 means 7 days, a negative value for ever.
	// A commit drops events that are older than that by 1/16 of MaxAge, or by a minute if that is less. Age is by the
	// wall clock: if the clock jumps ahead by more than MaxAge, all events are too old.
	MaxAge time.Duration
	// MaxBytes is how many bytes of events are kept at most. Each event counts with about 36 bytes for its place in the
	// file. 0 means 64 MiB, a negative value no bound. Events are dropped for MaxBytes even if they are younger than
	// MaxAge. The events of the newest commit are never dropped.
	MaxBytes int64
	// ReadOnly opens a journal that exists and that no process has open for writing. Other readers may have it open. A
	// Commit fails with [ErrClosed].
	ReadOnly bool
	// Format is the newest format that the caller reads, and the format of a journal that Open creates. 0 means 1. The
	// format is a number for the caller's records and events. The layout of the file has been the same in all formats.
	Format uint32
	// Reserve is how many bytes of the disk are allocated, besides those in use, for commits on a full disk; see
	// [Journal.Room]. Up to twice as many are allocated. 0 means 4 MiB, a negative value none.
	Reserve int64
	// NoSync leaves out every sync, and the reserve. A power loss may destroy the journal then: for tests and
	// simulations.
	NoSync bool
	// Now is the clock for the age of events and for those appended without a time; nil means time.Now. It is called on
	// the committer's goroutine only.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.LockTimeout == 0 {
		o.LockTimeout = defaultLockTimeout
	}
	if o.MaxAge == 0 {
		o.MaxAge = defaultMaxAge
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.Reserve == 0 {
		o.Reserve = defaultReserve
	}
	if o.NoSync || o.ReadOnly {
		o.Reserve = -1
	}
	if o.Format == 0 {
		o.Format = firstFormat
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}
