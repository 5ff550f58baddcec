package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/engine-lite/engine-lite/internal/apart"
)

// Main is the frame of a program that compares engines, and returns its exit code. outside is the program itself, whose
// context ends with a signal. inside is what [Again] runs, with its arguments.
func Main(name string, outside func(context.Context) error, inside func(args []string) error) int {
	code, done := apart.Enter()
	if done {
		return code
	}
	var err error
	if Inside() {
		err = inside(os.Args[1:])
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		err = outside(ctx)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// With calls fn with a daemon that runs in the namespaces that [Again] has made, and has an image with these names.
func With(ctx context.Context, work, dir, engine string, images []string, fn func(*Daemon) error) (err error) {
	if err := enter(); err != nil {
		return err
	}
	d, err := newDaemon(work, dir, engine)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop(ctx)) }()
	if err := d.start(ctx); err != nil {
		return err
	}
	if err := d.Import(ctx, images...); err != nil {
		return err
	}
	if err := fn(d); err != nil {
		return fmt.Errorf("%w; the end of the daemon's log:\n%s", err, d.lastWords())
	}
	return nil
}

// Answer is where the program that [Again] has started writes what Again returns.
func Answer() *os.File { return os.NewFile(3, "answer") }

// Again runs this program again, in new namespaces of networks, processes and mounts, and returns what it wrote to
// [Answer]. Its arguments are work, dir, engine and more; dir is made. When Again returns, all that ran there has ended.
func Again(ctx context.Context, work, dir, engine string, more ...string) ([]byte, error) {
	if err := os.Mkdir(dir, 0o711); err != nil {
		return nil, err
	}
	out, err := os.Create(filepath.Join(dir, "answer"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	if err := again(ctx, out, append([]string{work, dir, engine}, more...)); err != nil {
		return nil, err
	}
	return os.ReadFile(out.Name())
}
