// Package simulation runs the engine, its client layer and its journal against a
// runtime daemon, streams and a keeper in memory, in virtual time, while
// everything goes wrong that can, and compares what it says with what happened.
// All of it is tests: hack/simulate runs them, docs/testing.md describes them.
//
//	users (create, start, exec, pause, stop, kill, attach, remove ...)
//	  | calls                             ledger: the model
//	engine -> journal (taps: slow, failing, the engine dies before or after a write)
//	  |-> libcontainerd -> wire (slow, cut at any message, answers lost, away) -> daemon
//	  `-> streams (slow, failing) and a keeper                   ^
//	mischief (daemon down, restarted empty, out of memory, paused by others)
//
// One seed is one bubble of testing/synctest with some hundred lifecycles. Each
// decision is a hash of the seed, the name of the one who takes it, and how many
// that one took before; each message takes a time of its own, drawn in
// nanoseconds. Virtual time stands still until all goroutines wait, so there is
// one message at a time, and their order is the seed's: a run can be repeated.
package simulation
