package keeper

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockPatience is how long the kernel may take to let go of the lock of a process that was killed: its threads end one by one, and the last one
// closes its files.
const lockPatience = 2 * time.Second

// Lock takes the flock(2) of a file, which ends with the file or the process. EWOULDBLOCK where a living process has it.
func Lock(f *os.File) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	tooLong := time.After(lockPatience)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		select {
		case <-again.C:
		case <-tooLong:
			return err
		}
	}
}
