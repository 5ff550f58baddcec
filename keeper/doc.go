// Package keeper is for the process that outlives an engine and its runtime daemon: the keeper. The package has the
// process itself (Run) and its client (Start, Dial, Client).
//
// A container engine may be killed and started again while its containers run. Three things would be lost with it, and
// the keeper has them instead:
//
//   - The exit statuses of containers. The keeper is the child subreaper, so each container becomes its child. The
//     keeper reaps it and keeps the exit: Client.Exits, Lookup, Forget.
//   - The open ends of stdio: FIFOs of stdout and stderr, the write end of stdin, the master of a terminal. An engine
//     gives them to the keeper and takes duplicates: Client.Hold, Take, Return, Release.
//   - The output that nobody reads. While no engine has a stream, the keeper moves it into a file.
//
// The keeper also starts the runtime daemon (runtimed) and starts it again when it ends.
//
// # Use
//
// An engine calls Start when it comes up. Start connects to the keeper of a directory, and starts one if none runs.
// The keeper is a program of its own, cmd/keeper, which calls Run. Only processes of the keeper's own user may
// connect. When Client.Done is closed, the keeper is gone: the engine must stop reading the streams that it had
// taken, and must not start containers whose exits nobody would keep.
//
// # Streams
//
// A held stream has a key, by convention "container/process", and a name: Stdin, Stdout, Stderr, Terminal or Process. A
// connection takes a stream, and has it until it returns the stream or ends, however it ends. There is never a moment
// with two readers: Take returns when the keeper has stopped reading.
//
// While no connection has a stream, the keeper moves it by splice(2) into the stream's raw file. That is so for
// Stdout and Stderr, if the stream is a FIFO and was given with a raw file. The space that the file takes on its
// disk (st_blocks, so that holes punched by a reader count as free) has a bound. At the bound the keeper lets the
// pipe fill and the writer block. Ten times a second the keeper looks whether there is space again; nobody has to
// wake it.
//
// # Exits
//
// The keeper writes an exit to its ledger while the process is still a zombie, and reaps the process after that. A
// kill of the keeper in between can repeat an exit and cannot lose it. A process is named by its pid and its start
// time (StartTime). Exits stay in the ledger until Forget, also when the keeper is started again. Of exits that
// nobody forgets, the newest 65,536 are kept for sure. The ledger belongs to one boot of the machine: a keeper
// drops the exits of another boot, since pids and start times come again.
//
// # Versions
//
// Keeper and client may be of different releases. Both must have the same protocol number, else Dial and Start fail
// with FailedPrecondition. A keeper refuses a ledger of a newer format.
package keeper
