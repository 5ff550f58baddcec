package fifo

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// ContainerFiles are the descriptors that a process gets as its standard
// streams. None is nil. They belong to the caller of [OpenContainer], who
// closes them once the process has its own.
//
// They are blocking, as a program expects of its standard streams, and
// close-on-exec; os/exec and a runtime hand them on as 0, 1 and 2 without
// that flag. Each is an open file description of its own: the process can set
// O_NONBLOCK on it without an effect on anybody else.
type ContainerFiles struct {
	// Stdin is open for reading only, so that its writers' going is an end of
	// file.
	Stdin *os.File
	// Stdout and Stderr are open for reading and writing, so that a reader's
	// going is neither SIGPIPE nor EPIPE.
	Stdout, Stderr *os.File
}

// Close closes all three. It may be called again.
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

// OpenContainer opens a process's ends of its streams: FIFOs at any absolute
// path, /dev/null where a path is empty. Links on the way to a FIFO are
// followed, the FIFO itself must not be one. It waits for nobody: whether the
// other ends are open makes no difference, and ctx is only looked at between
// the steps.
//
// Until [OpenHold] has opened a write end, a stdin that nobody writes to is at
// its end: call that next, before the process runs.
//
// Errors: NotFound if there is nothing at a path; InvalidArgument if a path is
// not absolute and clean or what it names is not a FIFO; PermissionDenied;
// ResourceExhausted without a free descriptor; ctx's error. After an error
// nothing is left open.
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

// openEnd opens one blocking descriptor of a process.
//
// It is not os.OpenFile, which would make a FIFO non-blocking for its poller
// and so for the container; os.NewFile leaves a blocking descriptor as it is.
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
	// A read-write descriptor never waits, and while it is open no other open
	// has to wait: it stands in for the end that may not be there yet.
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

// pinFIFO pins the FIFO at a path that came from outside.
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

// OpenHold opens a write end of the stdin FIFO at path that is only there to
// be open: while it is, other writers' going is no end of file. Closing it (and
// every copy of it) is what "close stdin" means to the process.
//
// A reader must be there: call it after [OpenContainer] and before its files
// are closed, or while the process runs. Without that rule a writer would find
// the FIFO open for the moment of this call, and then broken.
//
// The file is blocking, close-on-exec and belongs to the caller. Errors: as for
// OpenContainer, and FailedPrecondition if nobody has the FIFO open for reading.
func OpenHold(path string) (*os.File, error) {
	p, err := pinFIFO(path)
	if err != nil {
		return nil, fmt.Errorf("cannot hold stdin: %w", err)
	}
	defer p.close()
	fd, err := p.reopen(unix.O_WRONLY | unix.O_NONBLOCK)
	if errors.Is(err, unix.ENXIO) {
		return nil, fmt.Errorf("cannot hold stdin: nobody reads %q: %w", path, errdefs.ErrFailedPrecondition)
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
