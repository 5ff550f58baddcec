package fifo

import "golang.org/x/sys/unix"

// wantedPipeSize is the size of a pipe in bytes. It has 1.4 to 1.7 times the throughput
// of the default of 64 KiB, as 1 MiB has, and takes memory only for the bytes in the
// pipe. It is half of what an unprivileged process may ask for by default (see pipe(7)),
// so that runtimed can make room for the last output of a terminal in a full FIFO.
const wantedPipeSize = 512 << 10

// growPipe makes a pipe as large as the limits in /proc/sys/fs/pipe-* allow, up to
// wantedPipeSize, and returns its size in bytes.
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
