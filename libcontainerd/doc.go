// Package libcontainerd is the layer of a container engine between "the user asked for a container" and "a process
// runs". The package keeps the records of containers, opens their stdio, and calls a runtime daemon that runs in
// another process. It turns the daemon's answers and events into state changes, and delivers each state change to
// the engine above exactly once and in order.
//
//	          engine
//	  calls |        ^ AttachStreams, StateChanged
//	+-------v--------+-------+
//	|  Client -> Container   |   one queue per container: StateChanged is
//	|    records, queue      |   called in order, and again after an error
//	+---+----------------+---+
//	    | Stdio          | Daemon
//	    v                v
//	  FIFOs          runtime daemon (package remote: containerd's gRPC API)
//
// # What an engine does
//
// An engine implements [Backend]. It makes a [Client] with [New], from a [Daemon] (package remote has one) and a
// [Stdio] (see [FIFO]). With [Client.Restore] it takes over the containers that it had before it was restarted. It
// runs [Client.Run] in a goroutine until it shuts down, and makes requests: [Client.Create], and the methods of
// [Container].
//
// Four terms are used everywhere:
//
//   - The init process is a container's first process. Its process id is [InitProcess]. An exec is a further process
//     that the engine runs in the container; it has an id of its own.
//   - A run is the time from a container's start to the exit of its init process. Its number, from 1, is the generation.
//   - The backend takes an event when Backend.StateChanged returns nil.
//   - A reconcile is the comparison of the client's records with the daemon.
//
// These steps bring a container from one [Status] to the next:
//
//	Create       the daemon stores the record                  created
//	Start        Stdio.Create                                  starting
//	             Backend.AttachStreams
//	             Daemon.CreateTask, then stdin may be closed
//	             Daemon.Wait is called, then Daemon.Start
//	             -> StateChanged(start), then Start returns    running
//	Pause        Daemon.Pause -> StateChanged(pause)           paused
//	Exec         the same as Start, with Daemon.AddExec
//	the process  Wait returns: the exit is recorded, once      stopped
//	exits        -> StateChanged(exit), until the backend takes it
//	             Container.Wait returns
//	             Daemon.Delete, Streams.Close
//	             the container can be started or deleted now
//	Delete       the daemon deletes the record                 deleted
//
// [Container.Run], [Container.RunExec] and [Client.RunContainer] are these steps and the wait for the exit in one
// call. [Container.Stop] ends a container and returns its exit. [Container.Checkpoint] writes the state of a
// running container to a directory, and Start can restore a task from there. Package spool lets several readers read
// one output. With [FIFO] alone, a process blocks when its output's pipe is full while no engine runs, and output of a
// process that ends meanwhile may be lost; package heldstdio prevents both.
//
// # What an engine stores
//
// The record of a container is [RestoreOptions], as JSON if the engine likes. RestoreOptions.Apply brings it up to date
// with each event; the engine stores it before it returns nil from StateChanged. Start, Exec, Pause, Resume and Wait
// return when the backend has taken their event. So whatever a caller was told is in the record of the next engine.
//
// # How exits are found
//
// The daemon's events are hints only: the client asks the daemon before it believes one. The client calls
// Daemon.Wait for each process before it starts the process; the answer of that call says how the process exited.
//
// After each connect, the client subscribes to events. Then it reconciles, and does so again from time to time
// (WithReconcileEvery): it lists the daemon's tasks, compares them with its records, and delivers the state changes
// that it missed. Their events have Recovered set. If the daemon doesn't know the status of an exit, Exit.Unknown
// is set to the reason. The client never invents a status.
//
// # What stays
//
// The interfaces that an engine implements don't grow: Backend, Stdio, Streams, Output and Subscription. What comes
// later is an optional interface, as Drainer, Copier and StreamRemover are today. Daemon may grow, see
// UnimplementedDaemon.
// Types with JSON tags may be stored: Event, Exit, CreateOptions, RestoreOptions, RestoreExec, StdioConfig, Mount and
// RuntimeOptions. A later release adds fields to their form, and changes none. The other types are for one program at a
// time.
//
// # Errors
//
// Errors have the classes of github.com/containerd/errdefs: NotFound, AlreadyExists, InvalidArgument,
// FailedPrecondition for a request that the container's status doesn't allow, and Unavailable while the daemon
// can't be reached or the client shuts down. Where the daemon could not start a process, the error wraps a
// [StartError], which has the exit code that Docker's clients show for such a process.
package libcontainerd
