package fifo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// The names of the FIFOs in a set's directory.
const (
	stdinName  = "stdin"
	stdoutName = "stdout"
	stderrName = "stderr"
)

var streamNames = [...]string{stdinName, stdoutName, stderrName}

// Config says which FIFOs a set has, and to whom they belong.
type Config struct {
	// UID and GID own the directory and the FIFOs, 0 to 4294967294. Others than
	// the caller's own need CAP_CHOWN.
	UID, GID int
	// Stdin, Stdout and Stderr say which FIFOs to make; at least one.
	Stdin, Stdout, Stderr bool
}

func (c Config) names() []string {
	var names []string
	for i, wanted := range []bool{c.Stdin, c.Stdout, c.Stderr} {
		if wanted {
			names = append(names, streamNames[i])
		}
	}
	return names
}

func (c Config) check() error {
	// The largest 32-bit number means "leave it" to chown(2).
	if min(c.UID, c.GID) < 0 || max(c.UID, c.GID) >= math.MaxUint32 {
		return fmt.Errorf("owner %d:%d does not exist: %w", c.UID, c.GID, errdefs.ErrInvalidArgument)
	}
	if len(c.names()) == 0 {
		return fmt.Errorf("no stream asked for: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}

// Paths are the absolute paths of a process's FIFOs. An empty one means that
// the process has no such stream and gets /dev/null.
type Paths struct {
	Stdin, Stdout, Stderr string
}

// Set is a directory with the FIFOs of one process. It remembers which inodes
// they are, holds no descriptor, and does not change after Create or Load.
type Set struct {
	dir   string
	dirID Identity
	fifos map[string]Identity
}

// Create makes the directory dir with mode 0700 and in it the FIFOs that config
// asks for with mode 0600, whatever the umask. The parent of dir must exist, and
// is best on a tmpfs such as /run: on a disk this takes ten times as long.
//
// Errors: InvalidArgument for a dir that is not absolute and clean, or a bad
// config; AlreadyExists if anything is at dir; NotFound without a parent;
// PermissionDenied. After an error nothing is left behind.
func Create(dir string, config Config) (_ *Set, err error) {
	if err := errors.Join(checkPath(dir), config.check()); err != nil {
		return nil, fmt.Errorf("cannot create FIFO set: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot create FIFO set: %w", classed(err))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, clearDir(dir))
		}
	}()
	// The directory changes hands last: until then nobody else can reach into it.
	for _, name := range config.names() {
		if err := makeFIFO(filepath.Join(dir, name), config); err != nil {
			return nil, fmt.Errorf("cannot create FIFO set: %w", err)
		}
	}
	if err := give(dir, 0o700, config); err != nil {
		return nil, fmt.Errorf("cannot create FIFO set: %w", err)
	}
	return Load(dir)
}

func makeFIFO(path string, config Config) error {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return classed(&os.PathError{Op: "mkfifo", Path: path, Err: err})
	}
	return give(path, 0o600, config)
}

// give sets mode and owner of path. The mode comes first: an owner can set it,
// a former owner cannot.
func give(path string, mode os.FileMode, config Config) error {
	if err := os.Chmod(path, mode); err != nil {
		return classed(err)
	}
	if err := os.Lchown(path, config.UID, config.GID); err != nil {
		return classed(err)
	}
	return nil
}

// Load picks up the set that an earlier Create made in dir, also one that a
// crash left incomplete: [Set.Paths] says what is there. From here on the set
// stands for the inodes that are there now.
//
// Errors: InvalidArgument as for Create; NotFound without the directory;
// FailedPrecondition if dir is no directory, or if there is anything other than
// a FIFO in place of one.
func Load(dir string) (*Set, error) {
	if err := checkPath(dir); err != nil {
		return nil, fmt.Errorf("cannot load FIFO set: %w", err)
	}
	d, err := pinPath(dir, unix.O_DIRECTORY)
	if err != nil {
		return nil, fmt.Errorf("cannot load FIFO set: %w", err)
	}
	defer d.close()
	set := &Set{dir: dir, dirID: d.id, fifos: make(map[string]Identity)}
	for _, name := range streamNames {
		id, err := identify(filepath.Join(dir, name))
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot load FIFO set: %w", err)
		}
		set.fifos[name] = id
	}
	return set, nil
}

// identify returns the identity of the FIFO at path.
func identify(path string) (Identity, error) {
	p, err := pinPath(path, 0)
	if err != nil {
		return Identity{}, err
	}
	defer p.close()
	if !p.isFIFO() {
		return Identity{}, fmt.Errorf("%q is not a FIFO: %w", path, errdefs.ErrFailedPrecondition)
	}
	return p.id, nil
}

// Dir is the directory of the set.
func (s *Set) Dir() string {
	return s.dir
}

// Paths returns the paths of the FIFOs in the set, empty where there is none.
func (s *Set) Paths() Paths {
	return Paths{Stdin: s.path(stdinName), Stdout: s.path(stdoutName), Stderr: s.path(stderrName)}
}

func (s *Set) path(name string) string {
	if _, ok := s.fifos[name]; !ok {
		return ""
	}
	return filepath.Join(s.dir, name)
}

// OpenStdout opens the engine's end of stdout.
//
// Errors: NotFound if the set has no stdout, or if its path is gone;
// FailedPrecondition if the path names another file than it did at Create or
// Load; ctx's error if ctx is done already.
func (s *Set) OpenStdout(ctx context.Context) (*Reader, error) {
	return s.openReader(ctx, stdoutName)
}

// OpenStderr is [Set.OpenStdout] for stderr.
func (s *Set) OpenStderr(ctx context.Context) (*Reader, error) {
	return s.openReader(ctx, stderrName)
}

func (s *Set) openReader(ctx context.Context, name string) (*Reader, error) {
	p, err := s.pin(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", name, err)
	}
	defer p.close()
	fd, err := p.reopen(unix.O_RDWR | unix.O_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", name, err)
	}
	return newReader(fd, p.path, p.id)
}

// pin pins a FIFO of the set, and refuses anything else that took its place.
// The pin is the caller's.
func (s *Set) pin(ctx context.Context, name string) (*pin, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	want, ok := s.fifos[name]
	if !ok {
		return nil, fmt.Errorf("FIFO set %q has no %s: %w", s.dir, name, errdefs.ErrNotFound)
	}
	p, err := pinPath(filepath.Join(s.dir, name), 0)
	if err != nil {
		return nil, err
	}
	if !p.isFIFO() || p.id != want {
		p.close()
		return nil, fmt.Errorf("%q was swapped: another file has taken its place: %w", p.path, errdefs.ErrFailedPrecondition)
	}
	return p, nil
}

// Remove removes the FIFOs and the directory. Ends that are open stay usable.
// It may be called again, also after an error; a directory that is gone is no
// error. Names in the directory that a set does not have are left alone.
//
// Errors: FailedPrecondition if another file took the directory's place, or if
// something else is in it; PermissionDenied.
func (s *Set) Remove() error {
	d, err := pinPath(s.dir, 0)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot remove FIFO set: %w", err)
	}
	defer d.close()
	if d.id != s.dirID {
		return fmt.Errorf("cannot remove FIFO set: %q was swapped: %w", s.dir, errdefs.ErrFailedPrecondition)
	}
	if err := clearDir(s.dir); err != nil {
		return fmt.Errorf("cannot remove FIFO set: %w", err)
	}
	return nil
}

// clearDir removes every name that a set can have from dir, then dir. It needs
// no descriptor: a lack of them may be why the set has to go. A path that is too
// long for the kernel leads to nothing.
func clearDir(dir string) error {
	for _, name := range streamNames {
		path := filepath.Join(dir, name)
		err := unix.Unlink(path)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENAMETOOLONG) {
			return classed(&os.PathError{Op: "unlink", Path: path, Err: err})
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return classed(&os.PathError{Op: "rmdir", Path: dir, Err: err})
	}
	return nil
}
