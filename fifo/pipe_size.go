package fifo

import "golang.org/x/sys/unix"

// wantedPipeSize is a pipe's size in bytes: what an unprivileged process may
// ask for by default, see pipe(7). It triples the throughput of the usual
// 64 KiB and takes memory only for what is in the pipe.
const wantedPipeSize = 1 << 20

// growPipe makes the pipe as large as it may be, at most wantedPipeSize, and
// returns its size in bytes. Limits (/proc/sys/fs/pipe-*) are no error: the
// pipe then stays smaller.
func growPipe(fd int) int {
	have, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		return 0
	}
	for size := wantedPipeSize; size > have; size /= 2 {
		if got, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, size); err == nil {
			return got
		}
	}
	return have
}
