package keeper

import (
	"context"
	"os"

	"github.com/engine-lite/engine-lite/internal/flock"
)

// Lock takes the flock(2) of a file, which ends with the file or the process. It waits for as long as the kernel
// may take to end a process that was killed.
func Lock(f *os.File) error {
	ctx, cancel := context.WithTimeout(context.Background(), flock.Patience)
	defer cancel()
	return flock.Lock(ctx, f, flock.Exclusive)
}
