package ociruntime

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// Running returns the processes that are OCI runtimes with a state directory below this one.
func Running(state string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil && hasRoot(line, state) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// hasRoot tells whether a command line (proc(5), /proc/PID/cmdline: each argument ends with a zero byte) has the
// option --root with a directory below this one.
func hasRoot(line []byte, state string) bool {
	args := strings.Split(string(bytes.TrimSuffix(line, []byte{0})), "\x00")
	for i, arg := range args[:len(args)-1] {
		if arg == "--root" && strings.HasPrefix(args[i+1], state+"/") {
			return true
		}
	}
	return false
}
