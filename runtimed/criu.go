package runtimed

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

// criuName is the name under which an OCI runtime looks for CRIU in PATH.
const criuName = "criu"

// What ExecCRIU is told, in the environment: the OCI runtime between it and the daemon passes nothing else on.
const (
	envCRIU     = "ENGINE_LITE_CRIU"      // CRIU's path
	envCRIUArgs = "ENGINE_LITE_CRIU_ARGS" // a JSON array of arguments
)

// ExecCRIU becomes CRIU, with further arguments, if an OCI runtime has started this program under CRIU's name; else it does nothing. The
// program that runs a [Daemon] calls it first of all. It returns only without having become CRIU.
//
// An OCI runtime hands anonymous pipes on to a restored process, but not FIFOs, and has no arguments for CRIU in general. CRIU's configuration
// file doesn't do either: CRIU 4.1 reads it twice in the mode in which it serves an OCI runtime, and gives a descriptor away once only.
func ExecCRIU() error {
	if !StandsForCRIU() {
		return nil
	}
	path := os.Getenv(envCRIU)
	var args []string
	if err := json.Unmarshal([]byte(os.Getenv(envCRIUArgs)), &args); err != nil {
		return fmt.Errorf("cannot read CRIU's arguments: %w", err)
	}
	argv := append(append([]string{criuName}, args...), os.Args[1:]...)
	return fmt.Errorf("cannot run %s: %w", path, unix.Exec(path, argv, os.Environ()))
}

// StandsForCRIU tells whether an OCI runtime has started this program under CRIU's name.
func StandsForCRIU() bool {
	return filepath.Base(os.Args[0]) == criuName && os.Getenv(envCRIU) != ""
}

// findCRIU looks CRIU up in PATH. NotImplemented without it: the host can't do checkpoints.
func findCRIU() (string, error) {
	path, err := exec.LookPath(criuName)
	if err != nil {
		return "", fmt.Errorf("checkpoints need CRIU (%v): %w", err, errdefs.ErrNotImplemented)
	}
	return filepath.Abs(path)
}

// withCRIU calls fn with a context in which an OCI runtime finds a CRIU that gets these arguments.
func (d *Daemon) withCRIU(ctx context.Context, args []string, fn func(context.Context) error) (err error) {
	path, err := findCRIU()
	if err != nil {
		return err
	}
	encoded, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("cannot encode CRIU's arguments: %w", err)
	}
	dir, err := os.MkdirTemp(d.tmp(), criuName)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// A link, not a script: below /run nothing may be executable (mount(8), noexec). It leads to this very program even if that was replaced.
	if err := os.Symlink("/proc/"+strconv.Itoa(os.Getpid())+"/exe", filepath.Join(dir, criuName)); err != nil {
		return err
	}
	return fn(runc.WithExtraEnv(ctx, "PATH="+dir+":"+os.Getenv("PATH"), envCRIU+"="+path, envCRIUArgs+"="+string(encoded)))
}

// requireCheckpoints refuses an OCI runtime that says it was built without CRIU, as crun may be. NotImplemented.
func (d *Daemon) requireCheckpoints(ctx context.Context, r ociRuntime) error {
	out, err := d.host.features.answer(ctx, r.Path, "--version")
	if err != nil {
		return fmt.Errorf("cannot ask OCI runtime %s for its version: %v: %w", r.Path, err, errdefs.ErrFailedPrecondition)
	}
	if lacksCRIU(string(out)) {
		return fmt.Errorf("OCI runtime %s was built without CRIU: %w", r.Path, errdefs.ErrNotImplemented)
	}
	return nil
}

// lacksCRIU reads crun's list of features, words that begin with "+". Other runtimes have none.
func lacksCRIU(version string) bool {
	var features, criu bool
	for word := range strings.FieldsSeq(version) {
		features = features || strings.HasPrefix(word, "+")
		criu = criu || word == "+CRIU"
	}
	return features && !criu
}

// criuFailure adds to an error what CRIU said last in its log: the OCI runtime's own message only names the file.
func criuFailure(err error, log string) error {
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
