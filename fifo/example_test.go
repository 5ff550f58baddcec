package fifo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/engine-lite/engine-lite/fifo"
)

// An engine and a runtime daemon, played by one process, run a program.
func Example() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output: read: to cat
}

func run(ctx context.Context) error {
	parent, err := os.MkdirTemp("", "fifo-example-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(parent)

	// The engine.
	set, err := fifo.Create(filepath.Join(parent, "io"), fifo.Config{
		UID: os.Geteuid(), GID: os.Getegid(), Stdin: true, Stdout: true,
	})
	if err != nil {
		return err
	}
	defer set.Remove()
	stdout, err := set.OpenStdout(ctx)
	if err != nil {
		return err
	}
	defer stdout.Close()
	stdin, err := set.OpenStdin(ctx)
	if err != nil {
		return err
	}
	defer stdin.Abort()

	// The runtime daemon.
	cmd := exec.CommandContext(ctx, "/bin/busybox", "cat")
	closeIO, err := create(ctx, cmd, set.Paths())
	if err != nil {
		return err
	}

	// The engine again, as soon as create has returned.
	if _, err := io.WriteString(stdin, "to cat"); err != nil {
		return err
	}
	if err := errors.Join(stdin.Close(), stdin.Release(closeIO)); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return err
	}
	stdout.ExitKnown()
	output, err := io.ReadAll(stdout)
	fmt.Println("read:", string(output))
	return err
}

func create(ctx context.Context, cmd *exec.Cmd, paths fifo.Paths) (closeIO func() error, err error) {
	files, err := fifo.OpenContainer(ctx, paths)
	if err != nil {
		return nil, err
	}
	defer files.Close()
	hold, err := fifo.OpenHold(paths.Stdin)
	if err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files.Stdin, files.Stdout, files.Stderr
	return hold.Close, cmd.Start()
}
