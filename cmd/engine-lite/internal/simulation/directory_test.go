package simulation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// directoryPrefix is the first part of the name of a run's directory. The pid of the
// process that made the directory follows.
const directoryPrefix = "engine-lite-simulation-"

// memoryRoot is a directory in memory if the machine has one.
func memoryRoot() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

// runDirectory makes an empty directory that is removed with the test.
func runDirectory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(memoryRoot(), fmt.Sprintf("%s%d-", directoryPrefix, os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// removeOldRuns removes the directories of runs that were killed. A directory stays as
// long as there is a process with its pid.
func removeOldRuns() error {
	dirs, err := filepath.Glob(filepath.Join(memoryRoot(), directoryPrefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		if isOrphan(filepath.Base(dir)) {
			if err := os.RemoveAll(dir); !errors.Is(err, os.ErrPermission) { // of another user
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// isOrphan is true if the process that made a directory has ended.
func isOrphan(name string) bool {
	pid, _, numbered := strings.Cut(strings.TrimPrefix(name, directoryPrefix), "-")
	n, err := strconv.Atoi(pid)
	return numbered && err == nil && n > 0 && errors.Is(syscall.Kill(n, 0), syscall.ESRCH)
}
