package streams

import (
	"fmt"
	"slices"

	"github.com/engine-lite/engine-lite/keeper/internal/wire"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// CheckID refuses a key with other than the allowed characters, and a name that is none. An empty name passes.
func CheckID(id ID) error {
	if id.Key == "" || len(id.Key) > wire.MaxKey {
		return fmt.Errorf("stream key of %d bytes, not 1 to %d: %w",
			len(id.Key), wire.MaxKey, errdefs.ErrInvalidArgument)
	}
	for _, c := range []byte(id.Key) {
		if !keyByte(c) {
			return fmt.Errorf("stream key with %q: %w", c, errdefs.ErrInvalidArgument)
		}
	}
	if !slices.Contains(append([]string{""}, wire.Names...), id.Name) {
		return fmt.Errorf("stream name %.32q: %w", id.Name, errdefs.ErrInvalidArgument)
	}
	return nil
}

// keyByte tells whether a key may have this byte. None of them grows in JSON.
func keyByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return slices.Contains([]byte("/._:@+-"), c)
}

// New makes a stream of a hold request and the descriptors beside it. The owner is the connection that has the
// stream from the start, or nil. In case of an error, the descriptors stay the caller's. Errors: InvalidArgument; any
// class where a StartFIFO can't be opened.
func New(r wire.Request, fds []int, owner any) (*Stream, error) {
	want := 1
	if r.Raw {
		want = 2
	}
	if len(fds) != want {
		return nil, fmt.Errorf("cannot hold with %d descriptors instead of %d: %w",
			len(fds), want, errdefs.ErrInvalidArgument)
	}
	id := ID{r.Key, r.Name}
	if err := CheckID(id); err != nil {
		return nil, err
	}
	if r.Name == "" || r.Bound < 0 {
		return nil, fmt.Errorf("cannot hold a stream with name %q and bound %d: %w",
			r.Name, r.Bound, errdefs.ErrInvalidArgument)
	}
	s := &Stream{id: id, fd: fds[0], raw: -1, owner: owner}
	if r.Name == wire.Process {
		return s, checkProcess(s.fd, r.Raw)
	}
	if r.Name == wire.StartFIFO {
		return s, openStartFIFO(s.fd, r.Raw)
	}
	kind, flags, err := describe(s.fd)
	if err != nil || kind != unix.S_IFIFO && kind != unix.S_IFCHR || flags&unix.O_PATH != 0 {
		return nil, fmt.Errorf("cannot hold as %v what is neither FIFO nor terminal: %w",
			id, errdefs.ErrInvalidArgument)
	}
	if !r.Raw {
		return s, nil
	}
	s.raw, s.bound = fds[1], r.Bound
	if s.bound == 0 {
		s.bound = wire.DefaultBound
	}
	s.pumped = kind == unix.S_IFIFO && (r.Name == wire.Stdout || r.Name == wire.Stderr)
	if s.pumped && flags&unix.O_ACCMODE == unix.O_WRONLY {
		return nil, fmt.Errorf("cannot hold %v, which can't be read: %w", id, errdefs.ErrInvalidArgument)
	}
	return s, checkRaw(id, s.raw)
}

// checkProcess refuses anything but a pidfd. A pidfd that knows how its process ended is a file of a filesystem of
// its own, from Linux 6.9 on.
func checkProcess(fd int, raw bool) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type != unix.PID_FS_MAGIC || raw {
		return fmt.Errorf("cannot hold as a process what is no pidfd, or has a raw file: %w",
			errdefs.ErrInvalidArgument)
	}
	return nil
}

// openStartFIFO makes a descriptor that is only a place (O_PATH) one for reading. The number stays.
func openStartFIFO(fd int, raw bool) error {
	kind, flags, err := describe(fd)
	if err != nil || kind != unix.S_IFIFO || flags&unix.O_PATH == 0 || raw {
		return fmt.Errorf("cannot hold as %s what is no FIFO opened with O_PATH, or has a raw file: %w",
			wire.StartFIFO, errdefs.ErrInvalidArgument)
	}
	path := fmt.Sprintf("/proc/self/fd/%d", fd) // open(2), O_PATH
	opened, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open a FIFO for reading: %w", err)
	}
	defer unix.Close(opened)
	return unix.Dup3(opened, fd, unix.O_CLOEXEC)
}

// checkRaw refuses a raw file to which splice(2) cannot write.
func checkRaw(id ID, raw int) error {
	kind, flags, err := describe(raw)
	writable := flags&unix.O_ACCMODE != unix.O_RDONLY && flags&(unix.O_APPEND|unix.O_PATH) == 0
	if err != nil || kind != unix.S_IFREG || !writable {
		return fmt.Errorf("cannot hold %v: its raw file is not a regular file open for writing without O_APPEND: %w",
			id, errdefs.ErrInvalidArgument)
	}
	return nil
}

// describe returns the file type and the status flags of a descriptor.
func describe(fd int) (kind uint32, flags int, err error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return 0, 0, err
	}
	flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return stat.Mode & unix.S_IFMT, flags, err
}
