package keeper

import (
	"context"
	"os"

	"github.com/engine-lite/engine-lite/internal/flock"
)

// Lock takes an exclusive flock(2) lock of a file. The lock ends when the caller closes the file, or when the process
// ends. If another open file has the lock, Lock waits for up to 2 seconds: the kernel takes some time to end a process
// that was killed. Errors: Unavailable if the lock is still taken then; else those of the system.
func Lock(f *os.File) error {
	ctx, cancel := context.WithTimeout(context.Background(), flock.Patience)
	defer cancel()
	return flock.Lock(ctx, f, flock.Exclusive)
}
