package journal

import "time"

const (
	defaultLockTimeout = time.Second
	defaultMaxAge      = 7 * 24 * time.Hour
	defaultMaxBytes    = 64 << 20
)

// Options configure [Open]. The zero value is good for production.
type Options struct {
	// LockTimeout is how long Open waits while another process has the journal open, with a resolution of 50 ms; 0
	// means one second, negative not at all.
	LockTimeout time.Duration
	// MaxAge is how long events are kept at least, counted from when they were appended; 0 means 7 days, negative for
	// ever. Events are dropped while others are committed, some 1/16 of MaxAge but at most a minute late, or later where
	// nothing is committed. The wall clock counts: one that jumps ahead by more than MaxAge ages all events.
	MaxAge time.Duration
	// MaxBytes is how many bytes of events are kept, each counted with the 36 bytes or so of its place in the file; 0
	// means 64 MiB, negative without bound. It wins over MaxAge. The events of the newest commit are never dropped.
	MaxBytes int64
	// ReadOnly opens a journal that is there and that nobody writes to; others may read it too. A Commit fails with
	// [ErrClosed].
	ReadOnly bool
	// Format is the newest format that the caller reads, and the one of a journal that Open creates: 1 to 2^32-1, 0 means
	// 1. The format stands for the caller's records and events; the file's own layout is the same in all so far.
	Format uint32
	// Reserve is how many bytes of the disk are held, beside those in use, for commits on a full disk; see [Journal.Room].
	// 0 means 4 MiB, negative none. Up to twice as many are allocated.
	Reserve int64
	// NoSync leaves out every sync, so that a power loss may take everything, and has no reserve: for tests and simulations.
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
