package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// close removes the containers, stops engine and keeper, and returns an error if anything
// is left on the machine. Then it removes the directory.
func (r *rig) close() error {
	var ids []string
	var errs []error
	if r.engine != nil {
		var err error
		ids, err = r.end()
		errs = append(errs, err)
		if strings.Contains(r.logs("engine.log"), "DATA RACE") {
			errs = append(errs, errors.New("the engine has a data race"))
		}
		errs = append(errs, r.leftovers(ids)...)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w\nengine's log:\n%s\nruntimed's log:\n%s\nkeeper's log:\n%s", err,
			r.logs("engine.log"), r.logs("run/runtimed.log"), r.logs("run/keeper.log"))
	}
	return os.RemoveAll(r.dir)
}

// end removes all containers and stops the processes. It returns the ids of all containers
// that ever existed.
func (r *rig) end() ([]string, error) {
	ids, err := r.everCreated()
	if err != nil {
		return nil, err
	}
	var list []struct{ ID string }
	if err := r.getJSON("/containers/json?all=1", &list); err != nil {
		return ids, err
	}
	var errs []error
	for _, c := range list {
		errs = append(errs, r.remove(c.ID))
	}
	errs = append(errs, terminate("engine", r.enginePid(), func() bool {
		select {
		case <-r.wait():
			return true
		default:
			return false
		}
	}))
	r.mu.Lock()
	errs = append(errs, r.err)
	r.mu.Unlock()
	if pid := r.keeperPid(); pid > 0 {
		errs = append(errs, terminate("keeper", pid, func() bool { return !alive(pid) }))
	}
	return ids, errors.Join(errs...)
}

func terminate(what string, pid int, gone func() bool) error {
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !gone() {
		return fmt.Errorf("%s: %w", what, err)
	}
	if !holds(gone) {
		return fmt.Errorf("the %s does not end after SIGTERM", what)
	}
	return nil
}

func (r *rig) remove(id string) error {
	q, err := http.NewRequest(http.MethodDelete, "http://engine/containers/"+id+"?force=1", nil)
	if err != nil {
		return err
	}
	response, err := r.client.Do(q)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 && response.StatusCode != http.StatusNotFound {
		text, _ := io.ReadAll(response.Body)
		return fmt.Errorf("remove %s: %s", id, text)
	}
	return nil
}

func (r *rig) getJSON(path string, into any) error {
	response, err := r.client.Get("http://engine" + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(into)
}

// everCreated returns the ids of all containers that were created, from the events.
func (r *rig) everCreated() ([]string, error) {
	query := url.Values{
		"since": {"1"}, "until": {strconv.FormatInt(time.Now().Unix()+1, 10)},
		"filters": {`{"type":["container"],"event":["create"]}`},
	}
	response, err := r.client.Get("http://engine/events?" + query.Encode())
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var ids []string
	for decoder := json.NewDecoder(response.Body); ; {
		var event struct{ Actor struct{ ID string } }
		if err := decoder.Decode(&event); errors.Is(err, io.EOF) {
			return ids, nil
		} else if err != nil {
			return nil, err
		}
		ids = append(ids, event.Actor.ID)
	}
}

// leftovers returns what is left of the rig. It looks only for the rig's directory and the
// containers' ids, since others use the machine, too.
func (r *rig) leftovers(ids []string) []error {
	var errs []error
	for what, look := range map[string]func([]string) []string{
		"process": r.processes, "mount": r.mounts, "cgroup": cgroupsOf, "file": r.files,
	} {
		var left []string
		settled := time.Now().Add(5 * time.Second)
		for left = look(ids); len(left) > 0 && time.Now().Before(settled); left = look(ids) {
			<-time.After(pollEvery)
		}
		for _, l := range left {
			errs = append(errs, fmt.Errorf("left behind: %s %s", what, l))
		}
	}
	return errs
}

// processes finds processes whose command line or root has the rig's directory: the
// daemons, and processes of containers, whose root is mounted from there.
func (r *rig) processes([]string) []string {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var left []string
	for _, dir := range dirs {
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if strings.Contains(string(line)+rootMount(dir), r.dir+"/") {
			left = append(left, filepath.Base(dir)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return left
}

// rootMount is the line of a process's root in proc_pid_mountinfo(5).
func rootMount(proc string) string {
	mounts, _ := os.ReadFile(filepath.Join(proc, "mountinfo"))
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == "/" {
			return line
		}
	}
	return ""
}

// mounts finds mounts in the rig's directory, mounts of its image layers, and network
// namespaces that are mounted by a container's name.
func (r *rig) mounts(ids []string) []string {
	data, _ := os.ReadFile("/proc/self/mountinfo")
	var left []string
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, r.dir+"/") || containsAny(line, ids) {
			left = append(left, line)
		}
	}
	return left
}

func cgroupsOf(ids []string) []string {
	return named("/sys/fs/cgroup", ids)
}

// files finds sockets, FIFOs and other files that the daemons should have removed in the
// rig's directories, and files with a container's id elsewhere.
func (r *rig) files(ids []string) []string {
	left := named(r.dir, ids)
	for _, dir := range []string{"tmp", "run/stdio", "root/containers", "run/runtimed/.tmp"} {
		for _, e := range namesIn(r.file(dir)) {
			left = append(left, filepath.Join(r.file(dir), e))
		}
	}
	_ = filepath.WalkDir(r.runDir(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&(fs.ModeNamedPipe|fs.ModeSocket) != 0 {
			left = append(left, path)
		}
		return nil
	})
	for _, dir := range []string{"/run", "/var/run", "/var/tmp", "/dev/shm", "/var/lib/engine-lite",
		"/var/lib/containerd"} {
		left = append(left, named(dir, ids)...)
	}
	slices.Sort(left)
	return slices.Compact(left)
}

// named finds files below dir that have one of the ids in their name.
func named(dir string, ids []string) []string {
	var left []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone meanwhile
		}
		if containsAny(d.Name(), ids) {
			left = append(left, path)
		}
		return nil
	})
	return left
}

func containsAny(s string, ids []string) bool {
	return len(s) >= 64 && slices.ContainsFunc(ids, func(id string) bool { return strings.Contains(s, id) })
}

func namesIn(dir string) []string {
	list, _ := os.ReadDir(dir)
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}
