// Package record is what the engine writes down about its containers: a [Record] for each container, an [Exec] for each
// exec that runs, and a [RemovedExit] for each container that was removed.
//
// The types are the engine's own. Their JSON has the names of Docker's API, as it was when they were made, and does not
// follow that API: package request turns what a user asks for into these types, package inspect turns them into
// answers.
//
// A newer release may write fields that this one does not know. The fields Unknown keep them, at each level, so that
// they are written again. A record as a whole may be beyond this release: see [Record.Unreadable].
package record
