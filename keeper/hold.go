package keeper

import (
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// checkID refuses ids that are not a key of the allowed characters and one of the names. An empty name is left to the caller.
func checkID(id streamID) error {
	if id.key == "" || len(id.key) > maxKey {
		return fmt.Errorf("stream key of %d bytes, not 1 to %d: %w", len(id.key), maxKey, errdefs.ErrInvalidArgument)
	}
	for _, c := range []byte(id.key) {
		if !keyByte(c) {
			return fmt.Errorf("stream key with %q: %w", c, errdefs.ErrInvalidArgument)
		}
	}
	if !slices.Contains([]string{"", Stdin, Stdout, Stderr, Terminal, Process}, id.name) {
		return fmt.Errorf("stream name %.32q: %w", id.name, errdefs.ErrInvalidArgument)
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

// newStream checks what a hold request asks for, and the descriptors beside it. They stay the caller's in case of an error.
func newStream(r request, fds []int, owner any) (*stream, error) {
	want := 1
	if r.Raw {
		want = 2
	}
	if len(fds) != want {
		return nil, fmt.Errorf("cannot hold with %d descriptors instead of %d: %w", len(fds), want, errdefs.ErrInvalidArgument)
	}
	id := streamID{r.Key, r.Name}
	if err := checkID(id); err != nil {
		return nil, err
	}
	if r.Name == "" || r.Bound < 0 {
		return nil, fmt.Errorf("cannot hold a stream with name %q and bound %d: %w", r.Name, r.Bound, errdefs.ErrInvalidArgument)
	}
	s := &stream{id: id, fd: fds[0], raw: -1, owner: owner}
	if r.Name == Process {
		return s, checkProcess(s.fd, r.Raw)
	}
	kind, flags, err := describe(s.fd)
	if err != nil || kind != unix.S_IFIFO && kind != unix.S_IFCHR || flags&unix.O_PATH != 0 {
		return nil, fmt.Errorf("cannot hold as %v what is neither FIFO nor terminal: %w", id, errdefs.ErrInvalidArgument)
	}
	if !r.Raw {
		return s, nil
	}
	s.raw, s.bound = fds[1], r.Bound
	if s.bound == 0 {
		s.bound = DefaultBound
	}
	s.pumped = kind == unix.S_IFIFO && (r.Name == Stdout || r.Name == Stderr)
	if s.pumped && flags&unix.O_ACCMODE == unix.O_WRONLY {
		return nil, fmt.Errorf("cannot hold %v, which can't be read: %w", id, errdefs.ErrInvalidArgument)
	}
	return s, checkRaw(id, s.raw)
}

// checkProcess refuses what isn't a pidfd that tells of its process's exit: they are in a filesystem of their own, from Linux 6.9.
func checkProcess(fd int, raw bool) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type != unix.PID_FS_MAGIC || raw {
		return fmt.Errorf("cannot hold as a process what is no pidfd, or has a raw file: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}

// checkRaw refuses a raw file that splice(2) can't write to.
func checkRaw(id streamID, raw int) error {
	kind, flags, err := describe(raw)
	if err != nil || kind != unix.S_IFREG || flags&unix.O_ACCMODE == unix.O_RDONLY || flags&(unix.O_APPEND|unix.O_PATH) != 0 {
		return fmt.Errorf("cannot hold %v: its raw file is not a regular file open for writing without O_APPEND: %w", id, errdefs.ErrInvalidArgument)
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
