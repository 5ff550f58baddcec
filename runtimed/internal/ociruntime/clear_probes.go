package ociruntime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/retry"
)

// clearPatience bounds how long a killed process may take to end.
const clearPatience = 5 * time.Second

// ClearProbes ends what a daemon left that was killed while it probed a runtime (see [Choose]): the runtime, the
// container's init process, which would wait for its start for ever, and their control groups. tmp is the directory that
// Choose got. The caller removes it afterwards.
func ClearProbes(ctx context.Context, tmp string) error {
	entries, err := os.ReadDir(tmp)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var errs []error
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), probePrefix) {
			errs = append(errs, clearProbe(ctx, filepath.Join(tmp, entry.Name())))
		}
	}
	return errors.Join(errs...)
}

func clearProbe(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, clearPatience)
	defer cancel()
	for {
		left, err := killUsers(dir)
		if err != nil {
			return err
		}
		if left == 0 && removeGroups(probeID(dir)) {
			return nil
		}
		if err := retry.Sleep(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("%d processes, or control groups, of the probe in %s are left: %w", left, dir, err)
		}
	}
}

// killUsers kills the processes that have the directory in their command line: the runtime's, and that of the init process,
// which is the runtime's until it executes its program. It returns how many there were.
func killUsers(dir string) (n int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// In this order, the process that is killed is the one whose command line was read.
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it has ended
		}
		line, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err == nil && bytes.Contains(line, []byte(dir+"/")) {
			n++
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // it may have ended
		}
		_ = unix.Close(fd)
	}
	return n, nil
}

// removeGroups removes the control groups of a container for which no path was given: they have its id. It returns false
// while one is in use.
func removeGroups(id string) bool {
	gone := true
	for _, pattern := range []string{"/sys/fs/cgroup/" + id, "/sys/fs/cgroup/*/" + id} {
		groups, _ := filepath.Glob(pattern) // the pattern is valid
		for _, group := range groups {
			if err := os.Remove(group); err != nil && !errors.Is(err, os.ErrNotExist) {
				gone = false
			}
		}
	}
	return gone
}
