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

// memoryPrefix begins the names of the directories of runs; the process that made
// one follows.
const memoryPrefix = "engine-lite-simulation-"

// memory is a directory in memory, where there is one.
func memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

// memoryDir is an empty directory that goes with the test.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(memory(), fmt.Sprintf("%s%d-", memoryPrefix, os.Getpid()))
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

// sweepMemory removes what killed simulations have left. A directory whose
// process is there, if only by its number, stays for a later run.
func sweepMemory() error {
	dirs, err := filepath.Glob(filepath.Join(memory(), memoryPrefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		if isOrphan(filepath.Base(dir)) {
			if err := os.RemoveAll(dir); !errors.Is(err, os.ErrPermission) { // another user's
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// isOrphan tells whether a directory's process has ended.
func isOrphan(name string) bool {
	pid, _, numbered := strings.Cut(strings.TrimPrefix(name, memoryPrefix), "-")
	n, err := strconv.Atoi(pid)
	return numbered && err == nil && n > 0 && errors.Is(syscall.Kill(n, 0), syscall.ESRCH)
}
