package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// programs are an engine's programs, and the file of each for its stacks, below the
// engine's directory in /run.
var programs = []struct{ name, stacks string }{
	{"engine-lite", "engine.stacks"}, {"runtimed", "runtimed.stacks"}, {"keeper", "keeper/keeper.stacks"},
}

// reading is what was read while the engine was idle.
type reading struct {
	figures figures
	things  map[string]things // by the name of a gauge that counts
}

// things are how many there are of each name, for one gauge. In names, each number and
// each id is replaced by *.
type things map[string]int

func (t things) count() (n int) {
	for _, c := range t {
		n += c
	}
	return n
}

// read reads all gauges.
func (k *soak) read(ctx context.Context) (*reading, error) {
	r := &reading{figures: figures{}, things: map[string]things{}}
	pids := taggedProcesses(k.target)
	for _, p := range programs {
		i := slices.IndexFunc(pids, func(pid int) bool { return programOf(pid) == p.name })
		if i < 0 {
			return nil, fmt.Errorf("no process of %s", p.name)
		}
		r.things[p.name+" descriptors"] = descriptors(pids[i])
		var err error
		if r.things[p.name+" goroutines"], err = goroutines(ctx, pids[i], filepath.Join(k.run, p.stacks)); err != nil {
			return nil, err
		}
		// Writing its stacks, the process has collected its garbage.
		memory, err := memoryOf(pids[i], "Pss_Anon:")
		if err != nil {
			return nil, err
		}
		r.figures[p.name+" memory"] = memory / 1e6
	}
	err := errors.Join(r.readFiles("/run", k.disk), r.readMachine())
	return r, err
}

func programOf(pid int) string {
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))     // no link if the process is gone
	return filepath.Base(strings.TrimSuffix(exe, " (deleted)")) // the link's end after a new build of the program
}

// readMachine reads mounts, processes and control groups. Nothing else runs in the
// namespaces of the soak.
func (r *reading) readMachine() error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	r.things["mounts"] = things{}
	for line := range strings.Lines(string(mounts)) {
		r.things["mounts"][anonymous(strings.Fields(line)[4])]++
	}
	processes, err := filepath.Glob("/proc/[0-9]*/comm")
	r.things["processes"] = things{}
	for _, path := range processes {
		if name, err := os.ReadFile(path); err == nil {
			r.things["processes"][strings.TrimSpace(string(name))]++
		}
	}
	r.things["cgroups"] = things{}
	return errors.Join(err, filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if path == "/sys/fs/cgroup/unified" {
			return fs.SkipDir // beside version 1 it shows the whole machine, and none of our containers
		}
		if err == nil && d.IsDir() {
			r.things["cgroups"][anonymous(path)]++
		}
		return err
	}))
}

// readFiles counts the files below directories, and the disk space that they use.
func (r *reading) readFiles(dirs ...string) error {
	r.things["files"] = things{}
	visit := func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err != nil {
			return nil // removed meanwhile
		}
		if d.IsDir() && mounted(path, stat) {
			return fs.SkipDir
		}
		of := "disk"
		if strings.HasPrefix(filepath.Base(path), "journal") {
			of = "journal"
		}
		r.figures[of] += float64(stat.Blocks) * 512 / 1e6
		r.things["files"][anonymous(path)]++
		return nil
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, filepath.WalkDir(dir, visit))
	}
	return errors.Join(errs...)
}

// mounted is true if a directory is on another file system than its parent.
func mounted(path string, stat unix.Stat_t) bool {
	var above unix.Stat_t
	return path != "/run" && unix.Lstat(filepath.Dir(path), &above) == nil && above.Dev != stat.Dev
}

func descriptors(pid int) things {
	found := things{}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	for _, entry := range namesIn(dir) {
		if target, err := os.Readlink(filepath.Join(dir, entry.Name())); err == nil {
			found[anonymous(target)]++
		}
	}
	return found
}

// goroutines makes a process write its stacks, and counts its goroutines by the function
// that started them.
func goroutines(ctx context.Context, pid int, path string) (things, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
		return nil, err
	}
	var data []byte
	err := until(ctx, waitLimit, func() (err error) {
		data, err = os.ReadFile(path)
		return err
	})
	return makers(string(data)), err
}

// makers reads the output of runtime.Stack: a paragraph for each goroutine, whose last
// lines name the function that started it.
func makers(stacks string) things {
	found := things{}
	for paragraph := range strings.SplitSeq(stacks, "\n\n") {
		_, maker, ok := strings.Cut(paragraph, "\ncreated by ")
		if !ok {
			maker = "main"
		}
		maker, _, _ = strings.Cut(maker, "\n")
		maker, _, _ = strings.Cut(maker, " in goroutine ")
		found[maker]++
	}
	return found
}

var ids = regexp.MustCompile(`[0-9a-f]{12,}|[0-9]+`)

// anonymous replaces numbers and ids in a name.
func anonymous(name string) string { return ids.ReplaceAllString(name, "*") }

// least keeps the smaller reading of each gauge: something temporary, such as a probe, is
// not counted.
func (r *reading) least(next *reading) {
	if r.figures == nil {
		*r = *next
		return
	}
	for name, v := range next.figures {
		r.figures[name] = min(r.figures[name], v)
	}
	for kind, found := range next.things {
		if found.count() < r.things[kind].count() {
			r.things[kind] = maps.Clone(found)
		}
	}
}
