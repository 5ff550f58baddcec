package remote

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// marks are the pid namespace and the control groups by which the host's kernel shows
// that a process belongs to a container. A process of the container has at least one of
// them: a process that joined the container's control group from outside has no ancestor
// in the pid namespace, and a process that moved to another control group has one.
type marks struct {
	pidNamespace string            // the link /proc/PID/ns/pid; empty if it is this process's own
	groups       map[string]string // control group by hierarchy
}

// marksOf returns the marks of the container with an init process. If that process has
// exited there are none, and then no process counts as the container's.
func marksOf(init int) marks {
	var m marks
	if ns, own := pidNamespace(init), pidNamespace(os.Getpid()); own != "" && ns != own {
		m.pidNamespace = ns
	}
	m.groups = controlGroups(init)
	outside := controlGroups(parentOf(init))
	for hierarchy, path := range m.groups {
		// If init's parent is in the group or below, the group isn't the container's own.
		if around, known := outside[hierarchy]; !known || within(around, path) {
			delete(m.groups, hierarchy)
		}
	}
	return m
}

// has reports whether a process has one of the marks.
func (m marks) has(pid int) bool {
	for hierarchy, path := range controlGroups(pid) {
		if own, known := m.groups[hierarchy]; known && within(path, own) {
			return true
		}
	}
	if m.pidNamespace == "" {
		return false
	}
	for seen := 0; pid > 0 && seen < deepest; seen++ {
		if pidNamespace(pid) == m.pidNamespace {
			return true // pid, or an ancestor of it if it has a nested namespace
		}
		pid = parentOf(pid)
	}
	return false
}

// deepest is how many ancestors of a process are looked at.
const deepest = 1 << 10

// within reports whether a control group is another one or below it.
func within(path, other string) bool {
	return path == other || strings.HasPrefix(path, strings.TrimSuffix(other, "/")+"/")
}

func pidNamespace(pid int) string {
	link, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)) // empty if the process has ended
	return link
}

func controlGroups(pid int) map[string]string {
	file, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)) // empty if the process has ended
	return parseControlGroups(string(file))
}

// parseControlGroups reads the lines of /proc/PID/cgroup, "NUMBER:CONTROLLERS:PATH" (see
// cgroups(7)), and returns the paths by "NUMBER:CONTROLLERS".
func parseControlGroups(file string) map[string]string {
	groups := map[string]string{}
	for line := range strings.Lines(file) {
		number, after, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, path, ok := strings.Cut(after, ":")
		if ok && strings.HasPrefix(path, "/") {
			groups[number+":"+controllers] = path
		}
	}
	return groups
}

func parentOf(pid int) int {
	file, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // empty if the process has ended
	return parseParent(string(file))
}

// parseParent returns the pid in the line "PPid:" of /proc/PID/status (see
// proc_pid_status(5)). It is 0 without such a line, or if the parent is in another pid
// namespace.
func parseParent(status string) int {
	_, after, _ := strings.Cut(status, "\nPPid:") // line feeds in a process's name are escaped
	number, _, _ := strings.Cut(after, "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(number))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
