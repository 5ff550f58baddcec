package fifo

import "golang.org/x/sys/unix"

// wantedPipeSize is the size of a pipe in bytes: the largest that an unprivileged
// process may ask for by default, see pipe(7). It has three times the throughput of
// the default of 64 KiB, and takes memory only for the bytes in the pipe.
const wantedPipeSize = 1 << 20

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
