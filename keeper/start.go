package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// maxWords is how many bytes of a keeper's messages an error of Start has at most.
const maxWords = 4 << 10

// Options are the options of Start.
type Options struct {
	// Binary is the keeper's executable: cmd/keeper, or a program that calls Main.
	Binary string
	// Args are words between Binary and the keeper's flags. A program that is more than the keeper calls Main where it
	// finds them in its command line.
	Args []string
	// Dir is the keeper's directory. The keeper makes it with mode 0700 if it doesn't exist. The keeper's socket is
	// Dir/keeper.sock.
	Dir string
	// Log is the path of the file to which the keeper's own messages are appended. If it is empty, they are dropped.
	Log string
	// Runtimed is the command line of the runtime daemon that the keeper starts, and starts again when it ends. Its
	// first word is an absolute path; runtimed.Config has the others. If Runtimed is empty, the keeper starts no
	// runtime daemon. If a keeper runs already, Start uses Runtimed only if that keeper has no runtime daemon, or one
	// that fails.
	Runtimed []string
	// RuntimedLog is the path of the file to which runtimed's stdout and stderr are appended. If it is empty, they are
	// dropped.
	RuntimedLog string
}

// Start connects to the keeper of a directory, and starts a keeper if none runs there. The keeper is detached: it has a
// session of its own (see setsid(2)), and is not the caller's child. So it lives on when the caller dies, and the
// caller never has to reap it. (Start starts a process that starts the keeper and ends, and waits for that process.)
// ctx bounds the start and the handshake, and nothing after them. The caller owns the client and must Close it.
//
// With a runtime daemon, Start returns when the daemon serves (when it asks for the keeper's exits, as runtimed does),
// or after 3 seconds: then the daemon may still be on its way. If the keeper can't execute the daemon, or if the daemon
// refuses its command line (exit code 2) or ends three times before it serves, Start returns an error with the reason
// and the daemon's last words. A keeper that Start has started for that ends again; one that ran before runs on.
//
// Errors: those of Dial; Unavailable, with the messages of the keeper or of runtimed in the text, if one of them
// doesn't come up; ctx's error if ctx ended first.
func Start(ctx context.Context, opts Options) (*Client, error) {
	args, err := opts.args()
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(opts.Dir, SocketName)
	client, err := Dial(ctx, socket)
	if err == nil && len(opts.Runtimed) > 0 {
		err = client.repair(ctx, opts.Runtimed)
		return client.unless(err)
	}
	if !errors.Is(err, errdefs.ErrUnavailable) {
		return client, err
	}
	words, err := launch(ctx, opts.Binary, args)
	if err != nil {
		return nil, err
	}
	// Somebody else may have been faster: then its words are that the directory is taken, and all is well.
	client, err = Dial(ctx, socket)
	if err != nil && words != "" {
		return nil, fmt.Errorf("cannot start the keeper, which said %q: %w", words, err)
	}
	if err != nil || len(opts.Runtimed) == 0 {
		return client, err
	}
	failed, err := client.awaitRuntimed(ctx)
	if failed {
		err = errors.Join(err, client.Stop(ctx, StopOptions{}))
	}
	return client.unless(err)
}

// awaitRuntimed waits until runtimed serves, and tells whether it failed. Nothing is known of a runtimed that is slow,
// and of one whose keeper is of an earlier release: then it returns no error.
func (c *Client) awaitRuntimed(ctx context.Context) (failed bool, err error) {
	r, err := c.askRuntimed(ctx, true)
	switch {
	case errdefs.IsNotImplemented(err):
		return false, nil
	case err != nil:
		return false, err
	case r.Failing, r.Pid == 0 && r.Last != nil:
		return true, fmt.Errorf("runtimed does not come up: %s: %w", r.Last, errdefs.ErrUnavailable)
	}
	return false, nil
}

// repair gives a keeper that ran already a runtimed, if it has none that works.
func (c *Client) repair(ctx context.Context, command []string) error {
	r, err := c.askRuntimed(ctx, true)
	if errdefs.IsNotImplemented(err) {
		return nil
	}
	if err != nil || r.Serving || r.Pid != 0 {
		return err
	}
	return c.ReplaceRuntimed(ctx, command)
}

// unless returns the client, or closes it if there is an error.
func (c *Client) unless(err error) (*Client, error) {
	if err == nil {
		return c, nil
	}
	return nil, errors.Join(err, c.Close())
}

// args is the keeper's command line. Its working directory will be another, so paths become absolute.
func (o Options) args() ([]string, error) {
	args := append(append([]string{o.Binary}, o.Args...), "--detach")
	for _, f := range []struct{ flag, path string }{
		{"--dir", o.Dir}, {"--log", o.Log}, {"--runtimed-log", o.RuntimedLog},
	} {
		if f.path == "" {
			continue
		}
		path, err := filepath.Abs(f.path)
		if err != nil {
			return nil, fmt.Errorf("cannot find the path of %s: %w", f.flag, err)
		}
		args = append(args, f.flag, path)
	}
	return append(append(args, "--"), o.Runtimed...), nil
}

// launch starts a detached keeper and waits until it is up or has given up. It returns what the keeper said on
// stderr until then. The keeper and the process between hold the pipe's other end until that moment.
func launch(ctx context.Context, binary string, args []string) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("cannot start the keeper: %w", err)
	}
	defer r.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return "", errors.Join(fmt.Errorf("cannot start the keeper: %w", err), w.Close())
	}
	child, err := os.StartProcess(binary, args, &os.ProcAttr{Dir: "/", Files: []*os.File{null, null, w}})
	err = errors.Join(err, null.Close(), w.Close())
	if err != nil {
		return "", fmt.Errorf("cannot start the keeper: %w: %w", err, errdefs.ErrUnavailable)
	}
	stop := context.AfterFunc(ctx, func() {
		r.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed pipe, which nobody reads any more
		_ = child.Kill()                   // fails only if it has ended, as it should
	})
	defer stop()
	words, readErr := io.ReadAll(io.LimitReader(r, maxWords))
	if _, err := child.Wait(); err != nil {
		return "", fmt.Errorf("cannot wait for the keeper's start: %w", err)
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if readErr != nil {
		return "", fmt.Errorf("cannot hear from the keeper: %w", readErr)
	}
	return strings.TrimSpace(string(words)), nil
}
