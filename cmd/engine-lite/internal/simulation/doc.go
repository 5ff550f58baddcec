// Package simulation runs the engine, its client layer and its journal against a
// runtime daemon, streams and a keeper in memory, in virtual time, with faults of
// many kinds. It compares what the engine says with what happened. All of it is
// tests: hack/simulate runs them, docs/testing.md describes them.
//
//	users (create, start, exec, pause, stop, kill, attach, remove ...)
//	  | calls                             model: what happened, and what the journal says
//	engine -> journal (taps: slow, failing, the engine is killed before or after a write)
//	  |-> libcontainerd -> wire (slow, cut at any message, answers lost) -> daemon
//	  `-> streams (slow, failing) and a keeper                                ^
//	faults (daemon down, restarted empty, out of memory, paused by another client)
//
// One seed is one bubble of testing/synctest with some hundred lifecycles. Each
// decision is a hash of the seed, the name of the actor that takes it, and the
// number of the actor's earlier decisions. Each message takes a time of its own,
// drawn in nanoseconds. Virtual time stands still until all goroutines wait. So
// there is one message at a time, in the order of the seed, and a run can be
// repeated.
package simulation
