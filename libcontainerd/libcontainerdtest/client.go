package libcontainerdtest

import (
	"context"
	"log/slog"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// NewClient returns a client that logs nothing. The caller runs it, see RunClient.
func NewClient(d libcontainerd.Daemon, s libcontainerd.Stdio, b libcontainerd.Backend) (*libcontainerd.Client, error) {
	return libcontainerd.New(d, s, b, libcontainerd.WithLogger(slog.New(slog.DiscardHandler)))
}

// RunClient calls c.Run in a goroutine. The caller must call stop once: stop ends Run, waits for it, and returns
// its error.
func RunClient(c *libcontainerd.Client) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}
