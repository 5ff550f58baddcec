package libcontainerdtest

import (
	"context"
	"io"

	"github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// NewClient makes a client that logs nothing and doesn't run yet.
func NewClient(d libcontainerd.Daemon, s libcontainerd.Stdio, b libcontainerd.Backend) (*libcontainerd.Client, error) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return libcontainerd.New(d, s, b, libcontainerd.WithLogger(logrus.NewEntry(log)))
}

// RunClient runs a client, by a goroutine that ends with stop. That returns how
// Run ended, and is called once.
func RunClient(c *libcontainerd.Client) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}
