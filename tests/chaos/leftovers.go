package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// checkLeftovers looks for what must be gone when all containers are removed, and for
// crashes in the logs of the daemons.
func (w *world) checkLeftovers(ctx context.Context) {
	var list []struct{ ID string }
	if a := w.callUntilAnswered(ctx, http.MethodGet, "/containers/json?all=1"); json.Unmarshal(a.body, &list) != nil ||
		len(list) > 0 {
		w.difference("containers at the end: %d %s %v", a.status, a.body, a.err)
	}
	var left []string
	if !waitUntil(ctx, func() bool {
		left = slices.Concat(w.files(), w.mounts(), w.groups(), w.processes())
		return len(left) == 0
	}) {
		w.difference("left behind: %q", left)
	}
	for _, log := range []string{"engine.log", "run/runtimed.log", "run/keeper.log"} {
		data, err := os.ReadFile(w.file(log))
		if err != nil {
			w.difference("%v", err)
		}
		for _, word := range []string{"panic:", "fatal error:", "DATA RACE"} {
			if i := strings.Index(string(data), word); i >= 0 {
				w.difference("%s: %s", log, data[i:min(len(data), i+4096)])
			}
		}
	}
}

// removeAll removes the containers that are still there.
func (w *world) removeAll(ctx context.Context) error {
	var list []struct{ ID string }
	if a := w.callUntilAnswered(ctx, http.MethodGet, "/containers/json?all=1"); json.Unmarshal(a.body, &list) != nil {
		return fmt.Errorf("list what is left: %d %s %w", a.status, a.body, a.err)
	}
	var errs []error
	for _, c := range list {
		if a := w.callUntilAnswered(ctx, http.MethodDelete, "/containers/"+c.ID+"?force=1"); !a.done() {
			errs = append(errs, fmt.Errorf("remove %s: %d %s %w", c.ID, a.status, a.body, a.err))
		}
	}
	return errors.Join(errs...)
}

func (w *world) files() []string {
	var left []string
	for _, pattern := range []string{
		"root/containers/*", "run/stdio/*", "run/runtimed/.tmp/*", "root/image-mounts/*",
		"root/volumes/[^.]*", "root/volumes/.mounts/*", "root/volumes/.removed/*", "root/volumes/.filling/*",
	} {
		list, _ := filepath.Glob(filepath.Join(w.dir, pattern))
		left = append(left, list...)
	}
	return left
}

// ids are the ids of all containers of this run.
func (w *world) ids() map[string]bool {
	ids := map[string]bool{}
	for _, c := range w.containers {
		ids[c.id] = true
	}
	return ids
}

func (w *world) groups() []string {
	var left []string
	ids := w.ids()
	for _, pattern := range []string{"/sys/fs/cgroup/engine-lite/*", "/sys/fs/cgroup/*/engine-lite/*"} {
		list, _ := filepath.Glob(pattern)
		for _, path := range list {
			if ids[filepath.Base(path)] {
				left = append(left, path)
			}
		}
	}
	return left
}

func (w *world) mounts() []string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return []string{err.Error()}
	}
	var left []string
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, w.dir+"/") {
			left = append(left, line)
		}
	}
	return left
}

// processes are the processes of containers: they have the address for reports in their
// environment.
func (w *world) processes() []string {
	var left []string
	list, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range list {
		environment, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if strings.Contains(string(environment), addressVariable+"="+w.reportAddress()) {
			left = append(left, fmt.Sprintf("process %s", filepath.Base(dir)))
		}
	}
	return left
}
