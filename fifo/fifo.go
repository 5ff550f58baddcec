// Package fifo keeps the named pipes (see fifo(7)) that carry the standard
// streams of one container process, and knows their traps.
//
// A [Set] is a directory with up to three FIFOs: stdin, stdout, stderr. The
// engine creates it before it asks a runtime daemon for the process, opens its
// own ends, and removes it when the process is gone:
//
//	engine                          runtime daemon
//	------                          --------------
//	Create(dir)
//	OpenStdout, OpenStderr, OpenStdin
//	        ---- create ---->       OpenContainer, OpenHold
//	                                start the process, close its files
//	        <--- created ----
//	Stdin.Release
//	        <---- exit ------
//	Reader.ExitKnown, read to io.EOF
//	Set.Remove
//
// Four facts of life shape it:
//
//   - End of file is not exit, and exit is not end of file. A grandchild may
//     hold stdout open for hours after the process exited, and a reader that
//     came first would read an end of file at once. So a [Reader] believes in
//     the end only once it was told of the exit, and then it takes what is in
//     the pipe and no more.
//   - Stdin must not be closed before the container has opened it: the bytes
//     would be lost. So [Stdin] holds the close back until it is permitted.
//   - Opening a FIFO blocks until somebody opens the other end. Nothing here
//     does so in the caller's goroutine: read ends are opened read-write, the
//     write end is opened in the background and can be cancelled.
//   - A path is only a name. Whoever can write to the directory can put
//     something else there, so every path is pinned with O_PATH, checked
//     through the descriptor and opened through it. The check compares device,
//     inode and time of birth, never the owner: runc and crun give the FIFOs
//     to the user of the container.
//
// No function or method here blocks, except where its comment says so. All of
// them may be called from several goroutines at a time.
package fifo
