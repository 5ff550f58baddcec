// Package events consumes the event stream of an engine-lite daemon so that
// nothing is lost: not over a restart of the daemon, of the consumer, or of both.
//
// Every event has a number; the numbers of one journal have no gap. [Consume]
// hands the events over in their order, remembers in a [Cursor] how far its
// caller has come, and goes on from there after every failure:
//
//	engine-lite --journal--> GET /events (server-sent events) --> Consume --> fn
//	                             ^  Last-Event-ID                    |
//	                             +----------- Cursor <---------------+ once fn has returned
//
// What is promised: each event is appended exactly once by the daemon, and is
// delivered at least once. One is delivered again where the consumer died between
// its handling and the saving of its number, so a handler should do the same when
// it sees a number twice. Where the daemon no longer keeps what comes next, the
// consumer learns it by a *[GoneError], never by a silent hole.
package events
