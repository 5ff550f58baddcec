package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/keeper/internal/wire"
)

// Runtimed is what the keeper knows of the runtime daemon that it keeps running.
type Runtimed struct {
	// Command is the command line. It is empty if the keeper has no runtime daemon, and if it is longer than 4 KiB.
	Command []string
	// Pid is the process id, 0 while no runtime daemon runs.
	Pid int
	// Serving says that the running daemon has come up: it has asked for the keeper's exits.
	Serving bool
	// Failing says that the daemon's last starts have failed, and that it doesn't run. The keeper tries again, at most
	// every 5 seconds.
	Failing bool
	// Last is the end of the last daemon that has ended under this keeper; nil if none has.
	Last *RuntimedEnd
}

// RuntimedEnd is how a runtime daemon ended.
type RuntimedEnd struct {
	// Time is the wall clock's time of the end.
	Time time.Time
	// Code is the exit code, 128 plus the number of the signal that ended it, or -1 if it could not be executed.
	Code int
	// Reason says the same in words.
	Reason string
	// Words is the end of what the daemon wrote to stdout and stderr, at most 4 KiB.
	Words string
}

// String returns the reason and the last words.
func (e RuntimedEnd) String() string {
	if e.Words == "" {
		return e.Reason
	}
	return fmt.Sprintf("%s, and its last words were %q", e.Reason, e.Words)
}

// Runtimed tells what the keeper knows of its runtime daemon.
// Errors: NotImplemented if the keeper is of an earlier release.
func (c *Client) Runtimed(ctx context.Context) (Runtimed, error) { return c.askRuntimed(ctx, false) }

// askRuntimed is Runtimed, after a wait for a start that is under way.
func (c *Client) askRuntimed(ctx context.Context, wait bool) (Runtimed, error) {
	a, err := c.call(ctx, wire.Request{Op: wire.OpRuntimed, Wait: wait})
	if err != nil {
		return Runtimed{}, later(err, "tell of runtimed")
	}
	if a.Runtimed == nil {
		return Runtimed{}, fmt.Errorf("the keeper's answer tells nothing of runtimed: %w", errdefs.ErrInternal)
	}
	r := a.Runtimed
	return Runtimed{r.Argv, r.Pid, r.Serving, r.Failing, (*RuntimedEnd)(r.Last)}, nil
}

// ReplaceRuntimed gives the keeper another runtime daemon, for an upgrade or with other arguments: the words of
// command, the first of which is an absolute path. The keeper ends the old daemon (SIGTERM, and SIGKILL after 10
// seconds) and starts the new one. ReplaceRuntimed returns nil when the new one serves. If the new one ends before, or
// doesn't serve within 30 seconds, the keeper starts the old one again, and keeps it. Containers run on, and their
// exits and streams are not affected; calls to the daemon fail meanwhile. The words may have some 4,000 bytes together.
//
// When ctx ends first, the keeper goes on, and Runtimed tells the result. The next keeper, after the death of this one,
// starts what Start names.
//
// Errors: Unavailable, with the reason and the daemon's last words in the text, if the new daemon doesn't come up;
// NotImplemented if the keeper is of an earlier release; InvalidArgument for a command line that can't be sent.
func (c *Client) ReplaceRuntimed(ctx context.Context, command []string) error {
	if len(command) == 0 || !filepath.IsAbs(command[0]) {
		return fmt.Errorf("cannot run %q: not an absolute path: %w", command, errdefs.ErrInvalidArgument)
	}
	if i := slices.IndexFunc(command, func(word string) bool { return !utf8.ValidString(word) }); i >= 0 {
		return fmt.Errorf("cannot send %q, which is not UTF-8: %w", command[i], errdefs.ErrInvalidArgument)
	}
	request := wire.Request{Op: wire.OpReplaceRuntimed, Argv: command}
	if data, err := json.Marshal(request); err != nil || len(data) > wire.MaxRequest-len(`{"id":18446744073709551615}`) {
		return fmt.Errorf("the command line is too long to be sent: %w", errdefs.ErrInvalidArgument)
	}
	// The keeper answers one connection's requests one by one, and this one takes long.
	own, err := Dial(ctx, c.path)
	if err != nil {
		return err
	}
	_, err = own.call(ctx, request)
	return errors.Join(later(err, "replace runtimed"), own.Close())
}

// StopOptions are the options of Stop.
type StopOptions struct {
	// Force stops a keeper that still has something to keep: see Stop.
	Force bool
}

// Stop ends the keeper and its runtime daemon, and returns when this client's connection has ended. The client is of no
// more use then.
//
// A keeper that holds a stream, or that has a child other than the daemon, refuses: a container may be running. An
// engine that wants to stop all deletes its containers first, and creates none meanwhile.
//
// With Force, the keeper ends all the same, as after SIGTERM. Containers run on, and what the keeper had of them is
// lost: terminals hang up, an open stdin ends, unread output in a FIFO is gone unless somebody else has the FIFO open,
// a writer without a reader gets SIGPIPE, and nobody learns the exits of containers that end before the next keeper
// comes. They don't become that keeper's children, so their exits are unknown where the kernel is older than 6.15.
//
// Errors: FailedPrecondition, with the first stream or the process in the text, if the keeper refuses; NotImplemented
// if the keeper is of an earlier release (send SIGTERM to Pid); ctx's error if ctx ends first: the keeper may end
// later.
func (c *Client) Stop(ctx context.Context, opts StopOptions) error {
	if _, err := c.call(ctx, wire.Request{Op: wire.OpStop, Force: opts.Force}); err != nil {
		return later(err, "stop")
	}
	select {
	case <-c.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// later is the error of an operation that keepers of earlier releases don't have. They answer with InvalidArgument, and
// today's keeper doesn't.
func later(err error, what string) error {
	if errdefs.IsInvalidArgument(err) {
		return fmt.Errorf("the keeper is of an earlier release and cannot %s (%v): %w",
			what, err, errdefs.ErrNotImplemented)
	}
	return err
}
