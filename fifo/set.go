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

// Config says which FIFOs a set has, and who owns them.
type Config struct {
	// UID and GID are the owner of the directory and the FIFOs, 0 to 4294967294. An
	// owner other than the caller needs CAP_CHOWN, see capabilities(7).
	UID, GID int
	// Stdin, Stdout and Stderr say which FIFOs to make. At least one must be set.
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
	// chown(2) takes the largest 32-bit number for "don't change".
	if min(c.UID, c.GID) < 0 || max(c.UID, c.GID) >= math.MaxUint32 {
		return fmt.Errorf("owner %d:%d does not exist: %w", c.UID, c.GID, errdefs.ErrInvalidArgument)
	}
	if len(c.names()) == 0 {
		return fmt.Errorf("no stream asked for: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}

// Paths are the absolute paths of a process's FIFOs. An empty path means that the
// process gets /dev/null for that stream.
type Paths struct {
	Stdin, Stdout, Stderr string
}

// Set is a directory with the FIFOs of one process. A Set has the identities of the
// FIFOs, holds no descriptor, and doesn't change after Create or Load.
type Set struct {
	dir   string
	dirID Identity
	fifos map[string]Identity
}

// Create makes the directory dir with mode 0700, and in it the FIFOs of config with mode
// 0600, whatever the umask. The parent of dir must exist. It should be on a tmpfs such
// as /run: on a disk, Create takes ten times as long.
//
// Errors: InvalidArgument for a dir that is not absolute and clean, or a bad config;
// AlreadyExists if a file is at dir; NotFound if dir has no parent; PermissionDenied.
// After an error nothing is left.
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
	// The directory changes its owner last. Until then no other user can reach the FIFOs.
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

// give sets the mode and then the owner of path. After the change of the owner, the
// caller may not set the mode any more.
func give(path string, mode os.FileMode, config Config) error {
	if err := os.Chmod(path, mode); err != nil {
		return classed(err)
	}
	if err := os.Lchown(path, config.UID, config.GID); err != nil {
		return classed(err)
	}
	return nil
}

// Load returns the set that an earlier Create made in dir. The set may be incomplete
// after a crash; [Set.Paths] says which FIFOs exist. The set stands for the inodes that
// are there now.
//
// Errors: InvalidArgument as for Create; NotFound if dir doesn't exist;
// FailedPrecondition if dir is no directory, or a file with the name of a FIFO is none.
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

// Dir returns the directory of the set.
func (s *Set) Dir() string {
	return s.dir
}

// Paths returns the paths of the FIFOs in the set. The path of a FIFO that the set
// doesn't have is empty.
func (s *Set) Paths() Paths {
	return Paths{Stdin: s.path(stdinName), Stdout: s.path(stdoutName), Stderr: s.path(stderrName)}
}

func (s *Set) path(name string) string {
	if _, ok := s.fifos[name]; !ok {
		return ""
	}
	return filepath.Join(s.dir, name)
}

// OpenStdout opens the engine's end of stdout. The caller must Close the Reader. ctx is
// only checked before the FIFO is opened.
//
// Errors: NotFound if the set has no stdout, or the FIFO is gone; FailedPrecondition if
// the path leads to another file than at Create or Load; ctx's error.
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

// pin pins a FIFO of the set. It fails if another file has taken the FIFO's place. The
// caller closes the pin.
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

// Remove removes the FIFOs and the directory. Ends that are open can still be used.
// Remove may be called again, also after an error. A directory that is gone is no
// error. Other files in the directory are not removed.
//
// Errors: FailedPrecondition if another file has taken the directory's place, or other
// files are in it; PermissionDenied.
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

// clearDir removes the FIFOs that a set can have from dir, and then dir. It needs no
// descriptor, since a lack of descriptors may be the reason for the removal. A path that
// is too long for the kernel is no error, since no file can be there.
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
