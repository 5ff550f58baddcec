// Package spool is how the OCI command line tells the engine of containers that
// run in somebody else's process tree, and how the engine reads it. It has one
// writer, the command engine-lite-oci, and one reader, the engine; either may be
// killed at any moment.
//
//	engine-lite-oci ──append──> DIR/KEY ──────────┐
//	       └─────────wake─────> DIR/wake ──> engine ──> journal
//
// A container's log is a file of JSON lines, one for each thing that was done to
// it. It lies on a tmpfs and isn't synced: a power loss ends the containers too.
// KEY stands for the container's id and the runtime's root directory; when the
// container is deleted the file is renamed, so that the id is free again whether
// an engine has read the log or not. The engine removes such a log once all of
// it is in the journal.
//
// A log belongs to whoever has its lock (flock(2)). What was begun is in the log
// before it is done, so that the next one who has the lock knows of a killed one's
// work.
package spool
