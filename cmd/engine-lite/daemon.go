package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/internal/logrusslog"
	"github.com/engine-lite/engine-lite/remote"
)

// onContainerd tells that a containerd is used in place of runtimed.
func (c *config) onContainerd() bool { return c.containerd != "" || c.containerdBinary != "" }

func (c *config) daemonAddress() string {
	switch {
	case c.containerd != "":
		return c.containerd
	case c.containerdBinary != "":
		return filepath.Join(c.containerdDir(), "containerd.sock")
	default:
		return filepath.Join(c.run, "runtimed.sock")
	}
}

func (c *config) containerdDir() string { return filepath.Join(c.run, "containerd") }

// connect returns the runtime daemon and what lets go of it. The keeper has
// started runtimed; a containerd that is asked for by its binary is started here.
func (c *config) connect(ctx context.Context) (*remote.Daemon, func() error, error) {
	options := remote.Options{Address: c.daemonAddress(), Namespace: engine.Namespace}
	if c.containerdBinary == "" {
		d, err := remote.New(ctx, options)
		if err != nil {
			return nil, nil, err
		}
		return d, d.Close, nil
	}
	s, err := remote.Supervise(ctx, remote.SupervisorOptions{
		Binary: c.containerdBinary, Root: filepath.Join(c.root, "containerd"), Dir: c.containerdDir(), LogLevel: c.logLevel,
		Log: logrusslog.New(logrus.NewEntry(logrus.StandardLogger())),
	})
	if err != nil {
		return nil, nil, err
	}
	logrus.WithFields(logrus.Fields{"pid": s.Pid(), "binary": c.containerdBinary}).Info("containerd is ready")
	d, err := remote.New(ctx, options)
	if err != nil {
		return nil, nil, errors.Join(err, s.Leave())
	}
	return d, func() error { return errors.Join(letGo(s, d), d.Close()) }, nil
}

// letGo ends containerd where it has no task. Else it runs on as runtimed does, for
// the exit of a container that ends while there is no containerd may be lost.
func letGo(s *remote.Supervisor, d *remote.Daemon) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	tasks, err := d.Tasks(ctx)
	switch {
	case err == nil && len(tasks) == 0:
		return s.Close()
	case errdefs.IsUnavailable(err):
		err = nil // it has ended, or will be found by the next engine
	}
	return errors.Join(err, s.Leave())
}
