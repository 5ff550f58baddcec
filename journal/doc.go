// Package journal stores records, and the events that say how records change, and commits
// both together.
//
// A change of state and its event are one transaction of a bbolt file. There is no event
// without its state and no state without its event, whenever the process is killed. Events
// have numbers from 1 upwards without a gap. A subscriber is a [Cursor], a position in the
// journal: a slow subscriber falls behind, is never dropped, and holds no more than a small
// batch of events.
//
//	Commit(fn) ─┐                        ┌─ records: kind, key → value
//	Commit(fn) ─┼─> queue ─> committer ──┤                            one transaction, two fdatasyncs
//	Commit(fn) ─┘   (all that wait)      └─ events: number → event ──> cursors wake
//
// As soon as the committer is free, it commits all functions that wait as one transaction. It
// never waits for more. A function that fails is left out of the transaction; the others are
// not affected.
//
// Old events are dropped by age and size (see [Options]). Records stay until they are deleted.
// A cursor whose next event has been dropped returns a [*TooOldError].
package journal
