// Package journal stores records and the events that tell of their changes, committed together.
//
// A change of state and the event that announces it are one transaction of a bbolt file: there is no event
// without its state and no state without its event, whenever the process is killed. Events carry numbers
// from 1 upwards without a gap. A subscriber is a [Cursor], a position in the journal: a slow one falls
// behind, is never dropped and holds no more than a small read batch.
//
//	Commit(fn) ─┐                        ┌─ records: kind, key → value
//	Commit(fn) ─┼─> queue ─> committer ──┤                            one transaction, two fdatasyncs
//	Commit(fn) ─┘   (all that is there)  └─ events: number → event ──> cursors wake
//
// The committer takes whatever is queued the moment it is free and commits it as one transaction; it never
// waits for more. A function that fails is left out of that transaction without harming its neighbours.
//
// Old events are dropped by age and size (see [Options]); records stay until they are deleted. A cursor that
// asks for an event that is gone gets a [*TooOldError], never a silent hole.
package journal
