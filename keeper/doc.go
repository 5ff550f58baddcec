// Package keeper has the keeper, a process that outlives a container engine and its runtime daemon: the process itself
// (Run) and its client (Start, Dial, Client).
//
// An engine may be killed and started again while its containers run. Three things would be lost with the engine. The
// keeper has them instead:
//
//   - The exit statuses of containers. The keeper is the child subreaper (see PR_SET_CHILD_SUBREAPER in prctl(2)), so
//     each container becomes its child. The keeper reaps the container and keeps the exit: Client.Exits, Client.Lookup,
//     Client.Forget.
//   - The open ends of stdio: the FIFOs of stdout and stderr, the write end of stdin, the master of a terminal. An
//     engine or a runtime daemon gives them to the keeper (Client.Hold, Client.Release), and takes duplicates
//     (Client.Take, Client.Return).
//   - The output that nobody reads. While no client has taken an output, the keeper moves its bytes into a file.
//
// The keeper also starts the runtime daemon (runtimed) and starts it again when it ends.
//
// # Use
//
// An engine calls Start when it comes up. Start connects to the keeper of a directory, and starts a keeper if none
// runs. The keeper is a program of its own, cmd/keeper, which calls Run. Only processes of the keeper's own user may
// connect.
//
// When Client.Done is closed, the keeper is gone. The engine must then stop reading the streams that it had taken. It
// must not start containers, since nobody would keep their exits.
//
// # Streams
//
// A held stream has a key, by convention "container/process", and a name: Stdin, Stdout, Stderr, Terminal, Process or StartFIFO.
// One connection at a time can take a stream. It has the stream until it returns the stream, or until the connection
// ends, for whatever reason. A stream never has two readers: Take returns when the keeper has stopped reading.
//
// While no connection has a stream, the keeper moves its bytes by splice(2) into the stream's raw file. It does so for
// Stdout and Stderr, if the stream is a FIFO and was given with a raw file. The raw file has a bound on the space that
// it takes on its disk (st_blocks of stat(2), so a reader frees space by punching holes). At the bound, the keeper
// stops reading, so the pipe fills and the writer blocks. Ten times a second, the keeper looks whether there is space
// again.
//
// # Exits
//
// The keeper writes an exit to its ledger, a file, while the process is still a zombie. It reaps the process after
// that. A kill of the keeper in between can repeat an exit, and cannot lose it. A process is named by its pid and its
// start time (StartTime).
//
// An exit stays in the ledger until Forget, also when the keeper is started again. The ledger keeps at least the newest
// 65,536 exits that nobody has forgotten. It belongs to one boot of the machine: a keeper drops the exits of an earlier
// boot, since pids and start times are used again.
//
// # Versions
//
// Keeper and client may be of different releases. Both must have the same protocol number, else Dial and Start fail
// with FailedPrecondition. A keeper refuses a ledger of a newer format.
package keeper
