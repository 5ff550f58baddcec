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
	// Binary is the keeper's executable (cmd/keeper).
	Binary string
	// Dir is the keeper's directory. The keeper makes it with mode 0700 if it doesn't exist. The keeper's socket is
	// Dir/keeper.sock.
	Dir string
	// Log is the path of the file to which the keeper's own messages are appended. If it is empty, they are dropped.
	Log string
	// Runtimed is the command line of the runtime daemon that the keeper starts, and starts again when it ends. Its
	// first word is an absolute path. If Runtimed is empty, the keeper starts no runtime daemon. If a keeper runs
	// already, Start doesn't use it.
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
// Errors: those of Dial; Unavailable, with the keeper's messages in the text, if the keeper doesn't come up; ctx's
// error if ctx ended first.
func Start(ctx context.Context, opts Options) (*Client, error) {
	args, err := opts.args()
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(opts.Dir, SocketName)
	client, err := Dial(ctx, socket)
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
	return client, err
}

// args is the keeper's command line. Its working directory will be another, so paths become absolute.
func (o Options) args() ([]string, error) {
	args := []string{o.Binary, "--detach"}
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
