// Package libcontainerd is the layer between "the user asked for a container"
// and "a process runs": it keeps the records of live containers, wires up
// their stdio, drives a runtime daemon in another process and turns what that
// daemon tells into state changes, each told to the engine above exactly once
// and in order.
//
//	          engine
//	  calls |        ^ AttachStreams, StateChanged
//	+-------v--------+-------+
//	|  Client -> Container   |   one queue per container: StateChanged is
//	|    records, queue      |   called in order, retried until it is taken
//	+---+----------------+---+
//	    | Stdio          | Daemon
//	    v                v
//	  FIFOs          runtime daemon (package remote: containerd's gRPC API)
//
// The life of a container:
//
//	Create       the record is stored at the daemon            created
//	Start        Stdio.Create                                  starting
//	             Backend.AttachStreams
//	             Daemon.CreateTask, then stdin may be closed
//	             Daemon.Wait is armed, then Daemon.Start
//	             -> StateChanged(start)                        running
//	Pause        Daemon.Pause -> StateChanged(paused)          paused
//	Exec         the same as Start, with Daemon.AddExec
//	the process  Wait returns: the exit is recorded, once      stopped
//	ends         -> StateChanged(exit), until it is taken
//	             Container.Wait returns
//	             Daemon.Delete, Streams.Close: it may be started or deleted
//	Delete       the record is deleted at the daemon           deleted
//
// Run, RunExec and Client.RunContainer are these steps and the wait for the exit
// as one call; Stop ends a container and returns its exit. Checkpoint writes a
// running container down, and Start goes on from there. A Spool gives one output
// to several readers.
//
// The daemon's events are hints only. A Wait per process that was armed before
// the start decides; whenever the client has (re)connected, and periodically,
// it subscribes first, then lists, compares, and produces the transitions that
// it missed, marked as recovered. An exit whose status nobody can know is
// Unknown with the reason, never an invented number.
//
// Errors carry the classes of github.com/containerd/errdefs: NotFound,
// AlreadyExists, InvalidArgument, FailedPrecondition for a request in the
// wrong status, Unavailable where the daemon can't be reached or the client is
// shutting down. A StartError in them has the exit code that Docker's clients
// know for a process that didn't start.
package libcontainerd
