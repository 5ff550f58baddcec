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

// lookForRest looks for what should no longer be there when all containers are
// removed, and for what daemons say when they break.
func (w *world) lookForRest(ctx context.Context) {
	var list []struct{ ID string }
	if a := w.sure(ctx, http.MethodGet, "/containers/json?all=1"); json.Unmarshal(a.body, &list) != nil || len(list) > 0 {
		w.differ("containers at the end: %d %s %v", a.status, a.body, a.err)
	}
	var left []string
	if !holds(ctx, func() bool {
		left = slices.Concat(w.files(), w.mounts(), w.groups(), w.processes())
		return len(left) == 0
	}) {
		w.differ("left behind: %q", left)
	}
	for _, log := range []string{"engine.log", "run/runtimed.log", "run/keeper.log"} {
		data, err := os.ReadFile(w.file(log))
		if err != nil {
			w.differ("%v", err)
		}
		for _, word := range []string{"panic:", "fatal error:", "DATA RACE"} {
			if i := strings.Index(string(data), word); i >= 0 {
				w.differ("%s: %s", log, data[i:min(len(data), i+4096)])
			}
		}
	}
}

// removeAll removes what is there in spite of everything.
func (w *world) removeAll(ctx context.Context) error {
	var list []struct{ ID string }
	if a := w.sure(ctx, http.MethodGet, "/containers/json?all=1"); json.Unmarshal(a.body, &list) != nil {
		return fmt.Errorf("list what is left: %d %s %w", a.status, a.body, a.err)
	}
	var errs []error
	for _, c := range list {
		if a := w.sure(ctx, http.MethodDelete, "/containers/"+c.ID+"?force=1"); !a.done() {
			errs = append(errs, fmt.Errorf("remove %s: %d %s %w", c.ID, a.status, a.body, a.err))
		}
	}
	return errors.Join(errs...)
}

func (w *world) files() []string {
	var left []string
	for _, dir := range []string{"root/containers", "run/stdio", "run/runtimed/.tmp"} {
		list, _ := filepath.Glob(filepath.Join(w.dir, dir, "*"))
		left = append(left, list...)
	}
	return left
}

// ids are those of all containers that there were.
func (w *world) ids() map[string]bool {
	ids := map[string]bool{}
	for _, l := range w.lives {
		ids[l.id] = true
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

// processes are those that ran in containers: the ledger's address is in their
// environment.
func (w *world) processes() []string {
	var left []string
	list, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range list {
		environment, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if strings.Contains(string(environment), ledgerVariable+"="+w.ledgerAddress()) {
			left = append(left, fmt.Sprintf("process %s", filepath.Base(dir)))
		}
	}
	return left
}
