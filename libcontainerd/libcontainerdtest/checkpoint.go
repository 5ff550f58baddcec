package libcontainerdtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// positionFile is the only file of a checkpoint. It has the number of the next command.
const positionFile = "position"

// Checkpoint writes the position in the init process's script to a file in c.Dir. A restored process repeats the
// command that is in progress, such as a sleep.
func (d *Daemon) Checkpoint(ctx context.Context, id string, c libcontainerd.CheckpointConfig) error {
	return d.on(ctx, "Checkpoint", id, libcontainerd.InitProcess, func(p *proc) error {
		if p.status != libcontainerd.TaskRunning || p.task.paused {
			return fmt.Errorf("task %q is not running: %w", id, errdefs.ErrFailedPrecondition)
		}
		p.stepping.Lock()
		defer p.stepping.Unlock()
		err := os.WriteFile(filepath.Join(c.Dir, positionFile), []byte(strconv.Itoa(p.at)), 0o600)
		if err == nil && c.Exit {
			p.killLocked(syscall.SIGKILL)
		}
		return err
	})
}

// restored returns the position in the script from which a restored process goes on.
func restored(dir string, script []command) (int, error) {
	if dir == "" {
		return 0, nil
	}
	b, err := os.ReadFile(filepath.Join(dir, positionFile))
	if err != nil {
		return 0, fmt.Errorf("cannot restore: %v: %w", err, errdefs.ErrInvalidArgument)
	}
	at, err := strconv.Atoi(string(b))
	if err != nil || at < 0 || at > len(script) {
		return 0, fmt.Errorf("cannot restore from %q: %w", b, errdefs.ErrInvalidArgument)
	}
	return at, nil
}
