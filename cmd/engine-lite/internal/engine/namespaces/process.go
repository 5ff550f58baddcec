// Package namespaces takes the namespaces of running processes, for containers that share them.
package namespaces

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Process is the process that had a pid when Open was called. Its directory in /proc is held open. The kernel ties
// such a descriptor to the process and not to the pid (pidfd_send_signal(2) uses it so): when the process has been
// reaped, nothing can be opened below the directory any more, also if another process has the pid by then.
type Process struct{ dir *os.File }

// Open returns the process of a pid, to be closed by the caller. Errors: NotFound if there is none.
func Open(pid int) (*Process, error) {
	dir, err := os.Open("/proc/" + strconv.Itoa(pid))
	if err != nil {
		return nil, gone(err)
	}
	return &Process{dir}, nil
}

// Close lets go of the process.
func (p *Process) Close() error { return p.dir.Close() }

// Namespace opens the process's namespace of a kind: "pid", "ipc" (namespaces(7)). The caller closes the file. An
// open namespace stays what it is, whatever becomes of its processes. Errors: NotFound if the process is gone.
func (p *Process) Namespace(kind string) (*os.File, error) { return p.open(path.Join("ns", kind)) }

// In tells whether the process is there and is in a control group of this name, or below one. A process that has
// ended and was not reaped is there. Container ids are names of control groups that nothing else on the host has.
func (p *Process) In(group string) (bool, error) {
	f, err := p.open("cgroup")
	if err == nil {
		defer f.Close()
		var text []byte
		if text, err = io.ReadAll(f); err == nil {
			return within(string(text), group), nil
		}
	}
	if err = gone(err); errdefs.IsNotFound(err) {
		return false, nil
	}
	return false, err
}

// within looks for the name in the lines of /proc/PID/cgroup, "NUMBER:CONTROLLERS:PATH" (cgroups(7)).
func within(groups, name string) bool {
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) == 3 && slices.Contains(strings.Split(parts[2], "/"), name) {
			return true
		}
	}
	return false
}

func (p *Process) open(name string) (*os.File, error) {
	fd, err := unix.Openat(int(p.dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, gone(&os.PathError{Op: "open", Path: path.Join(p.dir.Name(), name), Err: err})
	}
	return os.NewFile(uintptr(fd), path.Join(p.dir.Name(), name)), nil
}

// gone gives the errors of a process that was reaped their class.
func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%v: %w", err, errdefs.ErrNotFound)
	}
	return err
}
