package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/ocilog"
)

// options are the flags before the command.
type options struct {
	run, runtime, root   string
	log, logFormat       string
	rootless             string
	systemdCgroup, debug bool
}

// logDir returns the directory of the containers' logs, which the engine reads.
func (o *options) logDir() string { return filepath.Join(o.run, "oci") }

// complete makes the directories absolute: the runtime, and later commands, may have
// another working directory.
func (o *options) complete() error {
	for _, dir := range []*string{&o.run, &o.root} {
		if *dir == "" {
			continue
		}
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
	}
	return nil
}

// searchPath is the PATH where the caller has none, to find runtimes.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ociRuntime is the runtime of one container.
type ociRuntime struct {
	path, root string
	globals    []string
}

// chooseRuntime returns the runtime that the options name, else crun if it runs here,
// else runc.
func (o *options) chooseRuntime() (ociRuntime, error) {
	if os.Getenv("PATH") == "" {
		if err := os.Setenv("PATH", searchPath); err != nil {
			return ociRuntime{}, err
		}
	}
	names := []string{"crun", "runc"}
	switch {
	case o.runtime != "":
		names = []string{o.runtime}
	case hybridCgroups():
		names = []string{"runc"}
	}
	var errs []error
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err == nil {
			return o.runtimeAt(path, ""), nil
		}
		errs = append(errs, err)
	}
	return ociRuntime{}, fmt.Errorf("no OCI runtime: %w: %w", errors.Join(errs...), errdefs.ErrFailedPrecondition)
}

// hybridCgroups reports whether version 2 of control groups is mounted beside version
// 1. crun before 1.9 refuses to run then.
func hybridCgroups() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup/unified", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// runtimeAt returns the runtime with this path and root. If neither root nor the
// options name a root, each runtime has a root of its own: runtimes can't read each
// other's state.
func (o *options) runtimeAt(path, root string) ociRuntime {
	if root == "" {
		root = o.root
	}
	if root == "" {
		root = filepath.Join(o.logDir(), "state", filepath.Base(path))
	}
	r := ociRuntime{path: path, root: root, globals: []string{"--root", root}}
	for _, f := range []struct{ name, value string }{
		{"--log", o.log}, {"--log-format", o.logFormat}, {"--rootless", o.rootless},
	} {
		if f.value != "" {
			r.globals = append(r.globals, f.name, f.value)
		}
	}
	if o.systemdCgroup {
		r.globals = append(r.globals, "--systemd-cgroup")
	}
	if o.debug {
		r.globals = append(r.globals, "--debug")
	}
	return r
}

// runtimeOf returns the runtime that created a container, or the default runtime if
// the container has no log.
func (o *options) runtimeOf(id string) (ociRuntime, error) {
	s, err := ocilog.Peek(o.logDir(), ocilog.Key(o.root, id))
	if err == nil && s.Exists() {
		return o.runtimeAt(s.Container.Runtime, s.Container.Root), nil
	}
	return o.chooseRuntime()
}

// runMark, with the name of the run, is in the environment of each runtime that this
// program starts. If this program is killed, the next command finds the runtime by it.
const runMark = "ENGINE_LITE_OCI_RUN="

// between is called before and after each change that another process can see. Tests
// kill the process there.
var between = func(string) {}

// do runs the runtime as a child, with all descriptors of this process, as the caller
// of an OCI runtime expects. If the runtime fails, the error is an exitError, and the
// runtime has reported the reason.
func (r ociRuntime) do(run string, args ...string) error {
	cmd := exec.Command(r.path, append(r.globals[:len(r.globals):len(r.globals)], args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), runMark+run)
	if err := cmd.Start(); err != nil {
		return err
	}
	between(args[0] + " at work")
	err := cmd.Wait()
	between(args[0] + " returned")
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitError(128 + int(status.Signal()))
	}
	return exitError(exit.ExitCode())
}

// become replaces this process by the runtime. It returns only if that fails.
func (r ociRuntime) become(args ...string) error {
	argv := append([]string{r.path}, r.globals...)
	err := syscall.Exec(r.path, append(argv, args...), os.Environ())
	return fmt.Errorf("cannot run %s: %w", r.path, err)
}

// runtimeState has the parts that we use of a runtime's output of state.
type runtimeState struct {
	Status string `json:"status"`
	Pid    int    `json:"pid"`
}

// state asks the runtime for the state of a container. The error is of class NotFound
// if the runtime has no such container.
func (r ociRuntime) state(id string) (runtimeState, error) {
	var s runtimeState
	out, err := exec.Command(r.path, "--root", r.root, "state", id).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return s, fmt.Errorf("container %q does not exist: %w", id, errdefs.ErrNotFound)
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return s, fmt.Errorf("cannot understand the state of container %q: %v: %w", id, err, errdefs.ErrDataLoss)
	}
	return s, nil
}

// logFailure writes a message to the log file that the caller named, in the form that
// the runtimes use.
func (o *options) logFailure(failure error) {
	if o.log == "" {
		return
	}
	f, err := os.OpenFile(o.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	now := time.Now().Format(time.RFC3339)
	line := fmt.Sprintf("time=%q level=error msg=%q\n", now, failure)
	if o.logFormat == "json" {
		message := map[string]string{"time": now, "level": "error", "msg": failure.Error()}
		text, _ := json.Marshal(message) // never fails for strings
		line = string(text) + "\n"
	}
	_, _ = f.WriteString(line) // the message is on stderr as well
}
