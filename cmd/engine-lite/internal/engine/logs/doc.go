// Package logs moves the output of a process to where it is wanted.
//
//	FIFO --splice--> raw file ──┬─> encoder ──> json-file log ──> Read
//	     (one mover a stream)   └─> followers (attached clients)
//
// A raw file holds one stream as it came: the offset in the file is the number
// of the byte in the stream, across restarts of the engine. Encoder and
// followers each read it at their own position; what all have passed is freed by
// punching holes (fallocate(2)), so that the file stays small on disk. A move by
// splice(2) can't be torn by a kill, and the keeper appends to the same file
// while no engine is there.
//
// Where nothing is logged and the only client's connection is a bare socket, the
// mover splices past the raw file, see [Socket].
//
// Who waits for whom: a lagging encoder makes the mover wait, and in the end the
// writer, as a full pipe does. So does a follower that lags by the bound, until
// the process has exited; beside a log only as long as it takes something now and
// then, else it is cut off, with a message. Where nothing is logged, followers are the
// only readers and the mover waits for the slowest. A full disk makes the mover or
// the encoder wait, and loses nothing.
//
// The encoder writes down how far it came after each batch that it appended.
// What was appended after that is cut off when the next engine opens the output,
// and encoded again: after kill -9 no byte is missing and none is there twice.
// After a power loss, which ends the process too, the log is what the disk has of
// it, up to the last whole record.
//
// An idle output costs descriptors (a raw file for each stream, the log, the
// position) and the movers that wait in their sources. The encoder's goroutine
// and all buffers are there only while there is something to do.
//
// A stream can be as long as the file system's longest file, 16 TiB on ext4.
// What comes after that is read and dropped, with an error in the engine's log.
package logs
