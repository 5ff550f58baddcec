package keeperlink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/internal/retry"
	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/runtimed/internal/proc"
)

const (
	Timeout       = 5 * time.Second // for one request to the keeper; it answers at once or is gone
	firstRedial   = 50 * time.Millisecond
	longestRedial = 5 * time.Second
)

// Link is the connection to the keeper. Follow makes it again when it breaks.
type Link struct {
	Path string
	Log  *logrus.Entry
	pid  int // of the one keeper that this process is for; set by the first dial

	mu     sync.Mutex
	client *keeper.Client // nil while there is no connection
}

// Get returns the connection, or an error of class Unavailable.
func (l *Link) Get() (*keeper.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == nil {
		return nil, fmt.Errorf("the connection to the keeper is gone: %w", errdefs.ErrUnavailable)
	}
	return l.client, nil
}

func (l *Link) set(c *keeper.Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.client = c
}

// Dial connects. The keeper has to be an ancestor of this process, and always the same: only that one reaps what is
// started here.
func (l *Link) Dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	c, err := keeper.Dial(ctx, l.Path)
	if err != nil {
		return fmt.Errorf("cannot reach the keeper: %w", err)
	}
	if l.pid == 0 {
		l.pid = c.Pid()
	}
	if c.Pid() != l.pid || !descends(l.pid) {
		return errors.Join(fmt.Errorf("keeper %d is not what started this process: %w",
			c.Pid(), errdefs.ErrUnavailable), c.Close())
	}
	l.set(c)
	return nil
}

// descends tells whether a process is the parent of this one, or a further ancestor.
func descends(ancestor int) bool {
	for pid := os.Getppid(); pid != ancestor; {
		parent, err := proc.Parent(pid)
		if err != nil || parent == 0 {
			return false
		}
		pid = parent
	}
	return true
}

// Drop ends the connection.
func (l *Link) Drop() {
	c, err := l.Get()
	if err != nil {
		return
	}
	l.set(nil)
	if err := c.Close(); err != nil {
		l.Log.WithError(err).Warn("cannot close the connection to the keeper")
	}
}

// Do calls fn with the connection, for at most Timeout and also when the caller's own work is being undone.
func (l *Link) Do(fn func(context.Context, *keeper.Client) error) error {
	c, err := l.Get()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	return fn(ctx, c)
}

// Follow hands exits to onExit, all that are in the ledger and then new ones, until ctx ends. Whenever the connection
// breaks it is made again, with a pause that grows; after each new connection adopted is called before the exits.
//
// It fails, with class Unavailable, once the keeper that started this process is dead: another process reaps the
// containers from then on, so this daemon is of no use. The next keeper starts the next one.
func (l *Link) Follow(ctx context.Context, onExit func(keeper.Exit) error, adopted func()) error {
	for delay := retry.New(firstRedial, longestRedial); ctx.Err() == nil; {
		c, err := l.Get()
		if err == nil {
			adopted()
			began := time.Now()
			err = c.Exits(ctx, onExit)
			delay.ResetAfter(time.Since(began), longestRedial)
			l.Drop()
		}
		if !descends(l.pid) {
			return fmt.Errorf("keeper %d is dead: %w", l.pid, errdefs.ErrUnavailable)
		}
		if ctx.Err() != nil {
			return nil
		}
		l.Log.WithError(err).Warn("no exits from the keeper, connecting again")
		if delay.Wait(ctx) != nil {
			return nil
		}
		if err := l.Dial(ctx); err != nil {
			l.Log.WithError(err).Debug("the keeper doesn't answer")
		}
	}
	return nil
}
