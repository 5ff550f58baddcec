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

// One process plays both parts, the engine and the runtime daemon, and runs a program.
// See the drawing in the package's documentation.
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

	// The engine makes the FIFOs and opens its ends.
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

	// The runtime daemon starts the process.
	cmd := exec.CommandContext(ctx, "/bin/busybox", "cat")
	closeIO, err := create(ctx, cmd, set.Paths())
	if err != nil {
		return err
	}

	// The engine goes on when create has returned: it writes to stdin, closes it, and
	// reads the output after the exit.
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

// create starts the process with its ends of the FIFOs. closeIO closes the write end of
// stdin that the runtime daemon holds.
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
