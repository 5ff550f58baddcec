// Package runtimed is the embedded runtime daemon: containerd's gRPC API over one OCI runtime, for all containers in
// one process and without a shim.
//
//	client --gRPC--> runtimed --exec--> runc | crun: create, start, exec, delete
//	                    |
//	                    +---- keeper: reaps containers and tells their exits, holds stdin and terminals
//
// A container's streams are the client's own FIFOs: the OCI runtime inherits them, and no byte is copied here. Only a
// terminal's bytes pass through, by splice(2).
//
// # State
//
// What runtimed knows of a container is in files below its root, each written to a temporary name and renamed;
// nothing is synced, since a power loss ends the containers too. A new runtimed rebuilds everything from them, from
// /proc and from the keeper's ledger.
//
//	ROOT/lock                        locked with flock(2) while a runtimed serves this root
//	ROOT/.oci/NS/ID/                 the OCI runtime's own state of the container
//	ROOT/.tmp/                       console sockets, exec specs
//	ROOT/.kept/NS/ID/TIME-NAME/      bundles and process directories that were not to be cleaned; never read
//	ROOT/NS/namespace.json           the namespace's labels
//	ROOT/NS/ID/container.pb          the container's record, as containerd's API has it
//	ROOT/NS/ID/task.json             a task was asked for: the intent, before anything is done
//	ROOT/NS/ID/checkpoint.json       a checkpoint is being made: the intent
//	ROOT/NS/ID/bundle/               config.json, and rootfs where the request brought mounts
//	ROOT/NS/ID/init/process.json     streams and time of the request
//	ROOT/NS/ID/init/pid              written by the OCI runtime
//	ROOT/NS/ID/init/ready            the create of a task that its start restores is complete, with no process yet
//	ROOT/NS/ID/init/start            pid, start time, control groups: the create is complete
//	ROOT/NS/ID/init/running          the start is complete
//	ROOT/NS/ID/init/exit             how it ended, written before anybody is told
//	ROOT/NS/ID/execs/EXEC/...        the same for each exec
//	ROOT/NS/ID/execs/EXEC/inner-pid  its pid inside of a sandbox with a kernel of its own
//
// # Order
//
// What changes a container is serialised per container. What only looks (get, list, wait, kill of one process) waits
// for nobody, least of all for an OCI runtime that hangs. An exit that arrives while its process is being created or
// started is kept until that is done, so that a process's events are always create, start, exit, delete.
package runtimed
