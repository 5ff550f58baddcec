package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// markName is the environment variable that hack/test sets to a value of its own.
const markName = "ENGINE_LITE_TEST_RUN"

// programs are the names (/proc/PID/comm, 15 bytes at most) of what the tests start.
var programs = []string{"engine-lite", "keeper", "runtimed", "runc", "crun", "containerd", "containerd-shim", "ctr",
	"docker"}

// processes lists the processes that are leftovers if they are new: see the package comment.
func processes() (map[string]string, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	ancestors := ancestry()
	mark := []byte(markName + "=" + os.Getenv(markName))
	found := map[string]string{}
	for _, dir := range dirs {
		pid := filepath.Base(dir)
		stat, err := readStat(dir)
		if err != nil || slices.Contains(ancestors, pid) || !ours(dir, stat, mark) {
			continue // ended, this process, or not of the tests
		}
		line, _ := os.ReadFile(dir + "/cmdline") // empty for a zombie
		text := strings.TrimSpace(string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		found[pid+" "+stat.start] = fmt.Sprintf("%s (%s, state %s): %s", pid, stat.name, stat.state, text)
	}
	return found, nil
}

func ours(dir string, stat procStat, mark []byte) bool {
	if slices.Contains(programs, stat.name) || strings.HasSuffix(stat.name, ".test") {
		return true
	}
	env, err := os.ReadFile(dir + "/environ")
	if err == nil && os.Getenv(markName) != "" && slices.ContainsFunc(bytes.Split(env, []byte{0}),
		func(v []byte) bool { return bytes.Equal(v, mark) }) {
		return true
	}
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return false
	}
	theirs, err := os.Readlink(dir + "/ns/mnt")
	return err == nil && theirs != own && stat.parent != "2" && stat.parent != "0"
}

// ancestry is this process, its parent, and so on.
func ancestry() []string {
	var pids []string
	for pid := strconv.Itoa(os.Getpid()); pid != "0"; {
		pids = append(pids, pid)
		stat, err := readStat("/proc/" + pid)
		if err != nil {
			break
		}
		pid = stat.parent
	}
	return pids
}

// procStat is a part of proc_pid_stat(5).
type procStat struct {
	name, state, parent string
	start               string // clock ticks after the boot
}

func readStat(dir string) (procStat, error) {
	data, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return procStat{}, err
	}
	return parseStat(string(data))
}

// parseStat reads a line of /proc/PID/stat. A name may have spaces and brackets.
func parseStat(line string) (procStat, error) {
	begin, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if begin < 0 || end < begin {
		return procStat{}, fmt.Errorf("no process name in %q", line)
	}
	fields := strings.Fields(line[end+1:])
	if len(fields) < 20 {
		return procStat{}, fmt.Errorf("too few fields in %q", line)
	}
	return procStat{name: line[begin+1 : end], state: fields[0], parent: fields[1], start: fields[19]}, nil
}

// mounts lists the mounts of our own mount namespace; another's go with its
// processes.
func mounts() (map[string]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for line := range strings.Lines(string(data)) {
		id, text, err := parseMount(line)
		if err != nil {
			return nil, err
		}
		found[id] = text
	}
	return found, nil
}

// parseMount reads a line of proc_pid_mountinfo(5): id parent major:minor root
// mountpoint options ... - type source options.
func parseMount(line string) (id, text string, err error) {
	fields := strings.Fields(line)
	dash := slices.Index(fields, "-")
	if dash < 6 || len(fields) < dash+3 {
		return "", "", fmt.Errorf("not a mount: %q", line)
	}
	return fields[0] + " " + fields[4], fields[4] + " (" + fields[dash+1] + ")", nil
}

// networkNamespaces lists network namespaces with a process in them, and those with a
// name (see ip-netns(8)). One that is only mounted elsewhere is found as a mount.
func networkNamespaces() (map[string]string, error) {
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, path := range links {
		if ns, err := os.Readlink(path); err == nil {
			found[ns] = ns + ", of process " + strings.Split(path, "/")[2]
		}
	}
	named, err := entries("/run/netns")
	for _, name := range named {
		found[name] = name
	}
	return found, err
}

func networkInterfaces() (map[string]string, error) {
	names, err := entries("/sys/class/net")
	found := map[string]string{}
	for _, name := range names {
		found[name] = name
	}
	return found, err
}

// entries lists a directory's paths; none where there is no directory.
func entries(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	paths := make([]string, 0, len(list))
	for _, e := range list {
		paths = append(paths, filepath.Join(dir, e.Name()))
	}
	return paths, err
}
