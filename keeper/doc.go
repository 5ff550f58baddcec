// Package keeper is the process that outlives the engine and the runtime daemon, and the client of that process.
//
// The keeper owns what must not end with the others: it is the parent of runtimed and the child subreaper of every
// container, it keeps the exits that it reaped in a ledger, and it holds the FIFOs, the write ends of stdin and the masters
// of terminals. Run is the process (cmd/keeper only calls it); Dial and Start make a Client.
//
//	       engine                    runtimed
//	Hold/Take/Return |   Exits/Lookup/Forget |  (child, restarted)
//	        +--------v-----------------------v--+
//	        | keeper.sock (SOCK_SEQPACKET)      |
//	        |  streams -> pump    ledger <- reaper <--- waitid(2): containers, runtimed
//	        +-----------------------------------+
//
// # Protocol
//
// One JSON message is one packet. A request is at most 4 KiB, an answer at most 64 KiB; descriptors travel beside them as
// SCM_RIGHTS, at most 4 to a packet. The requests of one connection are answered one by one, in their order. The first one is
// "hello" and carries the protocol number; another number is refused with both numbers in the text. Only the keeper's own user may
// connect (SO_PEERCRED). The handshake is answered when connections that died before have given back what they had. A request that can't be understood gets an answer of class InvalidArgument, and the connection goes on.
//
//	-> {"id":1,"op":"hello","protocol":1}
//	<- {"id":1,"protocol":1,"pid":4242}
//	-> {"id":2,"op":"take","key":"c1/init","name":"stdout"}
//	<- {"id":2,"raw":true}                                     + descriptors: stream, raw file
//	-> {"id":3,"op":"exits"}                                   (the connection now only carries exits)
//	<- {"id":3,"exits":[{"seq":1,...},...]} ...
//
// # Streams
//
// A held stream is named by a key ("container/process") and a name (stdin, stdout, stderr, terminal). A connection takes it,
// and has it until it returns it or ends, however it ends. While nobody has it, the pump moves a stdout or stderr FIFO
// that came with a raw file into that file by splice(2), until the space allocated to the file (st_blocks, so that holes punched behind a reader
// count as free) reaches the stream's bound. Then the pump leaves the FIFO alone, the pipe fills and the
// writer blocks; ten times a second the pump looks whether space became free. Nobody has to wake it.
//
// # Exits
//
// An exit is written to the ledger while the process is still a zombie and only then reaped, so no kill of the keeper in between can lose
// one that was reaped. A process is identified by its pid and its start time (proc(5), /proc/PID/stat, field 22, clock ticks
// after boot). Exits stay in the ledger until Forget, also over a restart of the keeper; of those that nobody forgets the newest
// 65,536 are kept for sure. The ledger begins with its format's number, of which a newer one is refused, and with the id of the boot: the exits of
// another boot are dropped, since its pids and start times come again.
package keeper
