package remote

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// marks are what the host's kernel shows of all processes of a container and of no
// other's: a pid namespace, where the container doesn't share the one that this
// process is in, and control groups. A process needs one of them: one that joined
// from outside has no ancestor in the namespace, and one that moved has another
// group.
type marks struct {
	pidNamespace string            // as /proc/PID/ns/pid links to it; empty without one
	groups       map[string]string // control group by hierarchy
}

// marksOf finds the marks of a container by its init process. Without them, where
// the process has ended, no process is the container's.
func marksOf(init int) marks {
	var m marks
	if ns, own := pidNamespace(init), pidNamespace(os.Getpid()); own != "" && ns != own {
		m.pidNamespace = ns
	}
	m.groups = controlGroups(init)
	outside := controlGroups(parentOf(init))
	for hierarchy, path := range m.groups {
		// A group that its parent is in, or below, isn't the container's alone.
		if around, known := outside[hierarchy]; !known || within(around, path) {
			delete(m.groups, hierarchy)
		}
	}
	return m
}

// on tells whether a process has one of the marks.
func (m marks) on(pid int) bool {
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
			return true // one in a namespace of its own has an ancestor here
		}
		pid = parentOf(pid)
	}
	return false
}

// deepest bounds how many ancestors are looked at.
const deepest = 1 << 10

// within tells whether a control group is another one or below it.
func within(path, other string) bool {
	return path == other || strings.HasPrefix(path, strings.TrimSuffix(other, "/")+"/")
}

func pidNamespace(pid int) string {
	link, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)) // empty for one that has ended
	return link
}

func controlGroups(pid int) map[string]string {
	file, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)) // empty for one that has ended
	return parseControlGroups(string(file))
}

// parseControlGroups reads lines of "NUMBER:CONTROLLERS:PATH" (cgroups(7),
// /proc/PID/cgroup); the hierarchy is what is before the path.
func parseControlGroups(file string) map[string]string {
	groups := map[string]string{}
	for line := range strings.Lines(file) {
		number, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, path, ok := strings.Cut(rest, ":")
		if ok && strings.HasPrefix(path, "/") {
			groups[number+":"+controllers] = path
		}
	}
	return groups
}

func parentOf(pid int) int {
	file, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // empty for one that has ended
	return parseParent(string(file))
}

// parseParent reads the line "PPid:" (proc(5), /proc/PID/status); 0 without it, or
// where the parent is in another pid namespace.
func parseParent(status string) int {
	_, rest, _ := strings.Cut(status, "\nPPid:") // no name of a process has a line feed there
	number, _, _ := strings.Cut(rest, "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(number))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
