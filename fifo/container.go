package fifo

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// ContainerFiles are the descriptors that a process gets as its standard streams. None
// is nil. They belong to the caller of [OpenContainer], who closes them after the
// process was started.
//
// The descriptors are blocking, as programs expect of standard streams. They are
// close-on-exec; os/exec and OCI runtimes pass them on as 0, 1 and 2 without that flag.
// Each has an open file description of its own, so O_NONBLOCK that the process sets has
// no effect on other processes.
type ContainerFiles struct {
	// Stdin is open for reading only, so that the process reads an end of file when
	// all writers have closed the FIFO.
	Stdin *os.File
	// Stdout and Stderr are open for reading and writing, so that the process gets
	// neither SIGPIPE nor EPIPE when the reader has closed the FIFO.
	Stdout, Stderr *os.File
}

// Close closes all three files. It may be called again.
func (f ContainerFiles) Close() error {
	var errs []error
	for _, file := range []*os.File{f.Stdin, f.Stdout, f.Stderr} {
		if file == nil {
			continue
		}
		if err := file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// OpenContainer opens the process's ends of its streams, for a runtime daemon. The
// paths are those of FIFOs anywhere in the file system; an empty path stands for
// /dev/null. Symbolic links in a path are followed, except the last component.
// OpenContainer doesn't wait for the other ends to be opened. It looks at ctx only
// between the streams.
//
// A process whose stdin no other process has open for writing reads an end of file. So
// call [OpenHold] next, before the process runs.
//
// Errors: NotFound if no file is at a path; InvalidArgument if a path is not absolute
// and clean, or the file is no FIFO; PermissionDenied; ResourceExhausted if no
// descriptor is free; ctx's error. After an error no file is open.
func OpenContainer(ctx context.Context, paths Paths) (_ ContainerFiles, err error) {
	var files ContainerFiles
	defer func() {
		if err != nil {
			files.Close()
		}
	}()
	for _, stream := range []struct {
		name, path string
		flags      int
		file       **os.File
	}{
		{stdinName, paths.Stdin, unix.O_RDONLY, &files.Stdin},
		{stdoutName, paths.Stdout, unix.O_RDWR, &files.Stdout},
		{stderrName, paths.Stderr, unix.O_RDWR, &files.Stderr},
	} {
		if err := ctx.Err(); err != nil {
			return ContainerFiles{}, fmt.Errorf("cannot open container's %s: %w", stream.name, err)
		}
		if *stream.file, err = openEnd(stream.path, stream.flags); err != nil {
			return ContainerFiles{}, fmt.Errorf("cannot open container's %s: %w", stream.name, err)
		}
	}
	return files, nil
}

// openEnd opens one blocking descriptor of a process. It doesn't use os.OpenFile, which
// would make a FIFO non-blocking for Go's poller, and so for the container. os.NewFile
// leaves a blocking descriptor as it is.
func openEnd(path string, flags int) (*os.File, error) {
	if path == "" {
		fd, err := open(os.DevNull, flags)
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), os.DevNull), nil
	}
	p, err := pinFIFO(path)
	if err != nil {
		return nil, err
	}
	defer p.close()
	// Opening a FIFO read-write never waits. While that descriptor is open, opening
	// one end doesn't wait either: the descriptor counts as the other end.
	both, err := p.reopen(unix.O_RDWR | unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	defer unix.Close(both)
	growPipe(both)
	fd, err := p.reopen(flags)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// pinFIFO pins the FIFO at a path of a caller.
func pinFIFO(path string) (*pin, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	p, err := pinPath(path, 0)
	if err != nil {
		return nil, err
	}
	if !p.isFIFO() {
		p.close()
		return nil, fmt.Errorf("%q is not a FIFO: %w", path, errdefs.ErrInvalidArgument)
	}
	return p, nil
}

// OpenHold opens a write end of the stdin FIFO at path, for a runtime daemon. While
// this file is open, the process reads no end of file, even if all other writers close
// the FIFO. Closing the file, and every copy of it, closes the process's stdin.
//
// The FIFO must be open for reading: call OpenHold after [OpenContainer] and before its
// files are closed, or while the process runs. (OpenHold must not stand in for the
// reader: a writer would find the FIFO open during the call, and get EPIPE after it.)
//
// The file is blocking and close-on-exec, and belongs to the caller. Errors are those
// of OpenContainer, and FailedPrecondition if no process has the FIFO open for reading.
func OpenHold(path string) (*os.File, error) {
	p, err := pinFIFO(path)
	if err != nil {
		return nil, fmt.Errorf("cannot hold stdin: %w", err)
	}
	defer p.close()
	fd, err := p.reopen(unix.O_WRONLY | unix.O_NONBLOCK)
	if errors.Is(err, unix.ENXIO) {
		return nil, fmt.Errorf("cannot hold stdin: no process has %q open for reading: %w", path,
			errdefs.ErrFailedPrecondition)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot hold stdin: %w", err)
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot hold stdin: %w", err)
	}
	return os.NewFile(uintptr(fd), path), nil
}
