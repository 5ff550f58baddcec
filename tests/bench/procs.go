package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// taggedProcesses finds the processes of a target.
func taggedProcesses(target string) []int {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is valid
	var pids []int
	for _, dir := range dirs {
		environ, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || !bytes.Contains(append([]byte{0}, environ...), []byte("\x00"+tag+"="+target+"\x00")) {
			continue // gone, or of another user; a zombie has no environment
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// usage is the resources that a target's processes use.
type usage struct {
	processes, descriptors, threads int
	pss                             float64 // bytes: shared pages count in parts
}

func usageOf(target string) (usage, error) {
	var w usage
	for _, pid := range taggedProcesses(target) {
		pss, err := pssOf(pid)
		if errors.Is(err, fs.ErrNotExist) {
			continue // ended meanwhile
		}
		if err != nil {
			return w, err
		}
		w.processes++
		w.pss += pss
		w.descriptors += len(namesIn(fmt.Sprintf("/proc/%d/fd", pid)))
		w.threads += len(namesIn(fmt.Sprintf("/proc/%d/task", pid)))
	}
	if w.processes == 0 {
		return w, fmt.Errorf("%s has no process", target)
	}
	return w, nil
}

func namesIn(dir string) []os.DirEntry {
	entries, _ := os.ReadDir(dir) // empty if the process is gone
	return entries
}

// pssOf reads the proportional set size of a process, in bytes.
func pssOf(pid int) (float64, error) { return memoryOf(pid, "Pss:") }

// memoryOf reads a line of proc_pid_smaps(5), summed up, in bytes.
func memoryOf(pid int, name string) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
			kib, err := strconv.ParseFloat(fields[1], 64)
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("process %d: no %s", pid, name)
}

// removeCgroups removes an empty control group in all hierarchies.
func removeCgroups(name string) {
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*" + name) // version 1
	for _, dir := range append(dirs, "/sys/fs/cgroup"+name) {
		_ = os.Remove(dir) // missing, or not empty because of a failure that is already reported
	}
}
