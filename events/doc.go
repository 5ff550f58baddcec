// Package events reads the event stream of an engine-lite daemon. No event is lost when
// the daemon, the consumer or both are restarted.
//
// The daemon keeps its events in a journal. It numbers them without a gap, and each
// journal has a name. [Consume] calls a function for each event in order, saves the
// number of the last one in a [Cursor], and continues after that number when it
// connects again:
//
//	engine-lite --journal--> GET /events (server-sent events) --> Consume --> fn
//	                             ^  cursor=NUMBER                    |
//	                             +----------- Cursor <---------------+ after fn has returned
//
// The daemon appends each event exactly once, and Consume delivers it at least once. An
// event comes again if the consumer dies after it has handled the event and before it
// has saved the number, so a handler must do no harm when the same number comes twice.
//
// The daemon deletes old events. If it no longer has the next event, Consume fails with
// a *[GoneError]; it never skips events silently.
package events
