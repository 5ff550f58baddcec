// Package logs moves the output of a process to its log and to attached clients.
//
//	FIFO --splice--> raw file ──┬─> encoder ──> log files ──> Read
//	     (one mover a stream)   └─> followers (attached clients)
//
// A raw file has one stream of one run, byte for byte: the offset in the file is
// the number of the byte in the stream, across restarts of the engine. The encoder
// and the followers each read the file at their own position. What all of them have
// read is freed by punching holes (fallocate(2)), so the file stays small on disk. A
// kill can't tear a move by splice(2). While no engine runs, the keeper appends to
// the same file.
//
// If nothing is logged, and the only client's connection is a bare socket, the mover
// splices past the raw file, see [Socket].
//
// # Who waits for whom
//
// The mover waits for an encoder that lags. Then the pipe fills, and the process
// waits. The mover also waits for a follower that lags by the bound, until the
// process has exited. Beside a log, a follower that takes nothing for a second is cut
// off, with a message. If nothing is logged, followers are the only readers, and the
// mover waits for the slowest. A full disk makes the mover or the encoder wait, and
// loses nothing. A log with a buffer, see [Log], loses lines instead.
//
// # After a kill or a power loss
//
// After each batch that it appended, the encoder notes its position. When the next
// engine opens the output, it cuts off what was appended after the last note, and
// encodes it again. So after kill -9 no byte is missing and none is there twice. A
// power loss ends the process too. The log then has what the disk has, up to the last
// whole record.
//
// # Rotation
//
// When a record fills the file, the next record begins another file, see [Log]. Files
// are renamed and never changed, but for their compression. A reader opens all files at
// once, and reads on by its descriptors.
//
// # Costs and limits
//
// An idle output costs descriptors (one raw file for each stream, the log, the
// position) and the goroutines of the movers, which wait in their sources. The
// encoder's goroutine and all buffers exist only while there is something to do.
//
// A stream can be as long as the file system's longest file, 16 TiB on ext4. What
// comes after that is read and dropped, with an error in the engine's log.
package logs
