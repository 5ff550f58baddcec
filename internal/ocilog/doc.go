// Package ocilog holds the logs by which the OCI command line tells the engine
// of its containers: containers that run below another program, such as podman.
// The command engine-lite-oci writes the logs, and the engine reads them. Either
// may be killed at any moment.
//
//	engine-lite-oci ──append──> DIR/KEY ──────────┐
//	       └─────────wake─────> DIR/wake ──> engine ──> journal
//
// The log of a container is a file of JSON lines, one for each step of each
// action on the container. The file lies on a tmpfs and is not synced: a power
// loss ends the containers too. KEY is made of the container's id and the root
// directory of the OCI runtime. When the container is deleted, its log is
// renamed ("retired"): the id is free again, also if no engine has read the log.
// The engine removes a retired log when all of it is in the journal.
//
// Only the process that has the lock of a log (flock(2)) writes to it. An action
// is in the log before it begins. So the next process that has the lock knows
// what a killed one had begun.
package ocilog
