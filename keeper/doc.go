// Package keeper has the keeper, a process that outlives a container engine and its runtime daemon: the process itself
// (Run) and its client (Start, Dial, Client).
//
// An engine may be killed and started again while its containers run. Three things would be lost with the engine. The
// keeper has them instead:
//
//   - The exit statuses of runtimed's containers. The keeper is the child subreaper (see PR_SET_CHILD_SUBREAPER in prctl(2)), so
//     each container becomes its child. The keeper reaps the container and keeps the exit: Client.Exits, Client.Lookup,
//     Client.Forget.
//   - The open ends of stdio: the FIFOs of stdout and stderr, the write end of stdin, the master of a terminal. An
//     engine or a runtime daemon gives them to the keeper (Client.Hold, Client.Release), and takes duplicates
//     (Client.Take, Client.Return).
//   - The output that nobody reads. While no client has taken an output, the keeper moves its bytes into a file.
//
// The keeper also starts the runtime daemon (runtimed) and starts it again when it ends. It reports how the daemon last
// ended (Client.Runtimed), and takes another one for an upgrade (Client.ReplaceRuntimed).
//
// # Use
//
// An engine calls Start when it comes up. Start connects to the keeper of a directory, and starts a keeper if none
// runs. Only processes of the keeper's own user may connect. The keeper is a process of its own. Its program is
// cmd/keeper, or an engine that calls Main when it is started with the words of Options.Args. So one program can be
// engine, keeper and runtimed, and it is started again from its own file:
//
//	func main() {
//		switch {
//		case runtimed.Meant(): // in place of CRIU
//			os.Exit(runtimed.Main("", os.Args[1:]))
//		case len(os.Args) > 1 && os.Args[1] == "keeper":
//			os.Exit(keeper.Main(os.Args[2:]))
//		case len(os.Args) > 1 && os.Args[1] == "runtimed":
//			os.Exit(runtimed.Main("", os.Args[2:]))
//		}
//		self, err := os.Executable()
//		...
//		daemon := runtimed.Config{Root: ..., Address: ..., Keeper: filepath.Join(dir, keeper.SocketName)}
//		client, err := keeper.Start(ctx, keeper.Options{Binary: self, Args: []string{"keeper"}, Dir: dir,
//			Runtimed: append([]string{self, "runtimed"}, daemon.Args()...)})
//
// An engine that has no more containers can stop its keeper (Client.Stop). Without that, the keeper stays for the next
// engine.
//
// # A keeper that is gone
//
// When Client.Done is closed and the engine has not called Close or Stop, the keeper is gone: it was killed. Its client
// doesn't connect again. Containers run on, and runtimed ends, since the exits of new containers would be lost. The
// engine must stop reading the streams that it had taken, and must not start containers. The simplest that it can do is
// to end with an error: the next engine starts a keeper, which starts a runtimed, and restores as after a kill of its
// own. An engine that goes on instead does the same in one process: it closes the client, closes its client of the
// runtime daemon, calls Start again, and restores all containers. In both cases, exits of containers that the dead
// keeper had not reported are unknown unless the kernel has them (Linux 6.15), and terminals and open stdins have ended.
//
// # Streams
//
// A held stream has a key, which its holder chooses (package heldstdio: "namespace/container/process"), and a name: Stdin, Stdout, Stderr, Terminal, Process or
// StartFIFO. One connection at a time can take a stream. It has the stream until it returns the stream, or until the
// connection ends, for whatever reason. A stream never has two readers: Take returns when the keeper has stopped
// reading.
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
// with FailedPrecondition. An earlier keeper of the same protocol refuses what it doesn't know: the name StartFIFO with
// InvalidArgument, and Client.Runtimed, ReplaceRuntimed and Stop with NotImplemented. Start then doesn't wait for
// runtimed. A keeper refuses a ledger of a newer format.
package keeper
