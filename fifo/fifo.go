// Package fifo makes, opens and removes the named pipes (see fifo(7)) that carry the
// standard streams of a container's process between an engine and a runtime daemon.
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
// The package takes care of four properties of named pipes:
//
//   - End of file and exit are independent. A grandchild may keep stdout open for
//     hours after the process has exited, so there is no end of file. A reader that
//     opens the FIFO non-blocking before any writer gets an end of file at once. So a
//     [Reader] ends only after [Reader.ExitKnown], and then after the bytes that are
//     in the pipe at that moment.
//   - If stdin is closed before the process has opened it, the bytes in the pipe are
//     lost. So [Stdin] delays the close until [Stdin.Release].
//   - Opening one end of a FIFO blocks until the other end is open. So this package
//     opens read ends read-write, which doesn't block (on Linux, see fifo(7)), and
//     opens the write end in a goroutine that can be cancelled.
//   - A path may lead to another file later: a user who can write to the directory
//     can replace a FIFO. So each path is pinned with O_PATH (see open(2)), checked
//     and opened through that descriptor. The check compares device, inode number
//     and time of birth. It doesn't compare the owner, since runc and crun give the
//     FIFOs to the container's user.
//
// No function or method blocks unless its comment says so. All of them may be called
// from several goroutines at the same time.
package fifo
