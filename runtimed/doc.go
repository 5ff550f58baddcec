// Package runtimed has runtimed, the runtime daemon of engine-lite. It serves containerd's gRPC API, and calls an OCI
// runtime. It is one process for all containers, without a shim per container.
//
//	client --gRPC--> runtimed --exec--> runc | crun: create, start, exec, delete
//	                    |
//	                    +---- keeper: reaps containers and reports their exits, holds stdin and terminals
//
// A container's streams are FIFOs that the client has made. The OCI runtime inherits them, and runtimed copies no byte.
// Only the bytes of a terminal pass through runtimed, by splice(2).
//
// # State
//
// runtimed keeps what it knows of a container in files below its root. It writes each file under a temporary name and
// renames it. It syncs none, since a power loss ends the containers too. A new runtimed rebuilds its state from these
// files, from /proc and from the keeper's ledger. In the paths below, NS is a namespace of containerd's API.
//
//	ROOT/lock                        locked with flock(2) while a runtimed serves this root
//	ROOT/.oci/NS/ID/                 the OCI runtime's own state of the container
//	ROOT/.tmp/                       console sockets, exec specs
//	ROOT/.kept/NS/ID/TIME-NAME/      bundles and process directories that a client asked to keep; never read
//	ROOT/NS/namespace.json           the namespace's labels
//	ROOT/NS/ID/container.pb          the container's record, as containerd's API has it
//	ROOT/NS/ID/task.json             the request for a task, written before anything is done
//	ROOT/NS/ID/checkpoint.json       the request for a checkpoint, while the checkpoint is being made
//	ROOT/NS/ID/bundle/               config.json, and rootfs if the request has mounts for it
//	ROOT/NS/ID/init/process.json     the streams and the time of the request
//	ROOT/NS/ID/init/pid              the pid, written by the OCI runtime
//	ROOT/NS/ID/init/ready            exists when a create from a checkpoint is complete; there is no process yet
//	ROOT/NS/ID/init/start            pid, start time, control groups; written when the create is complete
//	ROOT/NS/ID/init/running          exists when the start is complete
//	ROOT/NS/ID/init/exit             the exit, written before runtimed reports it
//	ROOT/NS/ID/execs/EXEC/...        the same files for each exec
//	ROOT/NS/ID/execs/EXEC/inner-pid  the exec's pid inside of a sandbox with a kernel of its own
//
// # Order
//
// Requests that change a container run one after the other, container by container. Requests that change nothing (get,
// list, wait) and the kill of one process wait for no other request, not even for one whose OCI runtime hangs. If an
// exit arrives while its process is being created or started, runtimed holds the exit until that is done. So the events
// of a process are always in the order create, start, exit, delete.
package runtimed
