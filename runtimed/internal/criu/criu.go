package criu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
)

// program is the name under which an OCI runtime looks for CRIU in PATH.
const program = "criu"

// Environment variables for Exec. The OCI runtime between the daemon and CRIU passes nothing else on.
const (
	envCRIU     = "ENGINE_LITE_CRIU"      // CRIU's path
	envCRIUArgs = "ENGINE_LITE_CRIU_ARGS" // a JSON array of arguments
)

// Exec becomes CRIU, with further arguments, if an OCI runtime has started this program under CRIU's name; else it
// does nothing. The program that runs a [Daemon] calls it first of all. It returns only without having become CRIU.
//
// An OCI runtime hands anonymous pipes on to a restored process, but not FIFOs, and has no arguments for CRIU in
// general. CRIU's configuration file doesn't do either: CRIU 4.1 reads it twice in the mode in which it serves an OCI
// runtime, and gives a descriptor away once only.
func Exec() error {
	if !RunsAsCRIU() {
		return nil
	}
	path := os.Getenv(envCRIU)
	var args []string
	if err := json.Unmarshal([]byte(os.Getenv(envCRIUArgs)), &args); err != nil {
		return fmt.Errorf("cannot read CRIU's arguments: %w", err)
	}
	argv := append(append([]string{program}, args...), os.Args[1:]...)
	return fmt.Errorf("cannot run %s: %w", path, unix.Exec(path, argv, os.Environ()))
}

// RunsAsCRIU tells whether an OCI runtime has started this program under CRIU's name.
func RunsAsCRIU() bool {
	return filepath.Base(os.Args[0]) == program && os.Getenv(envCRIU) != ""
}

// Find looks CRIU up in PATH. NotImplemented without it: the host can't do checkpoints.
func Find() (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("checkpoints need CRIU (%v): %w", err, errdefs.ErrNotImplemented)
	}
	return filepath.Abs(path)
}

// With calls fn with a context in which an OCI runtime finds a CRIU that gets these arguments. tmp is a directory for
// what that takes meanwhile.
func With(ctx context.Context, tmp string, args []string, fn func(context.Context) error) (err error) {
	path, err := Find()
	if err != nil {
		return err
	}
	encoded, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("cannot encode CRIU's arguments: %w", err)
	}
	dir, err := os.MkdirTemp(tmp, program)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// A link, not a script: below /run nothing may be executable (mount(8), noexec). It leads to this very program
	// even if that was replaced.
	if err := os.Symlink("/proc/"+strconv.Itoa(os.Getpid())+"/exe", filepath.Join(dir, program)); err != nil {
		return err
	}
	return fn(runc.WithExtraEnv(ctx, "PATH="+dir+":"+os.Getenv("PATH"), envCRIU+"="+path,
		envCRIUArgs+"="+string(encoded)))
}

// Explain adds to an error what CRIU said last in its log: the OCI runtime's own message only names the file.
func Explain(err error, log string) error {
	f, openErr := os.Open(log)
	if openErr != nil {
		return err // CRIU didn't get as far as that
	}
	defer f.Close()
	if words := parseCRIULog(io.LimitReader(f, 16<<20)); words != "" {
		return fmt.Errorf("%w (CRIU: %s)", err, words)
	}
	return err
}

// parseCRIULog returns the last errors of a CRIU log, whose lines are "(seconds) [pid:] Error (source): message".
func parseCRIULog(r io.Reader) string {
	const wanted, longest = 3, 300
	var last []string
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 4<<10), 1<<20)
	for lines.Scan() {
		_, message, found := strings.Cut(lines.Text(), "Error (")
		if _, text, ok := strings.Cut(message, "): "); found && ok {
			last = append(last, strings.ToValidUTF8(text[:min(len(text), longest)], "?"))
			last = last[max(0, len(last)-wanted):]
		}
	}
	return strings.Join(last, "; ")
}
