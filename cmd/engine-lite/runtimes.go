package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/remote"
)

// takenRuntimes are names that mean something without a flag.
var takenRuntimes = []string{"", "runc"}

// defaultRuntime is the name of the OCI runtime of containers that name none. A runtimed of before, which a keeper may
// still run, doesn't tell its choice; like containerd's shim it is called runc then.
func (c *config) defaultRuntime(ctx context.Context, d *remote.Daemon) (string, error) {
	switch {
	case c.runtime != "":
		return c.runtime, nil
	case c.onContainerd():
		return "runc", nil
	}
	path, err := d.DefaultRuntime(ctx)
	if err != nil {
		return "", fmt.Errorf("default OCI runtime: %w", err)
	}
	return filepath.Base(cmp.Or(path, "runc")), nil
}

// addedRuntimes reads the flags --add-runtime, of the form NAME=PATH, and
// --runtime-arg, of the form NAME=ARGUMENT. A path without a slash is looked for in
// PATH.
func (c *config) addedRuntimes() (map[string]engine.OCIRuntime, error) {
	added := map[string]engine.OCIRuntime{}
	for _, flag := range c.addRuntimes {
		name, path, _ := strings.Cut(flag, "=")
		_, twice := added[name]
		taken := twice || name == c.runtime || slices.Contains(takenRuntimes, name)
		if path == "" || taken || strings.ContainsAny(name, "./ ") {
			return nil, fmt.Errorf("--add-runtime %q is not NAME=PATH with a name that is free", flag)
		}
		path, err := exec.LookPath(path)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			return nil, fmt.Errorf("--add-runtime %q: %w", flag, err)
		}
		added[name] = engine.OCIRuntime{Path: path}
	}
	for _, flag := range c.runtimeArgs {
		name, arg, _ := strings.Cut(flag, "=")
		r, ok := added[name]
		if !ok || !strings.HasPrefix(arg, "-") {
			return nil, fmt.Errorf("--runtime-arg %q is not NAME=ARGUMENT with the name of an --add-runtime", flag)
		}
		r.Args = append(r.Args, arg)
		added[name] = r
	}
	if c.onContainerd() && len(c.runtimeArgs) > 0 {
		return nil, errors.New("--runtime-arg is for the embedded runtime daemon: " +
			"for containerd --add-runtime a script that adds the arguments")
	}
	return added, nil
}

// addUsual adds the OCI runtimes that users name without a flag, where the machine has them.
func (c *config) addUsual(added map[string]engine.OCIRuntime) {
	for _, name := range []string{"runc", "crun"} {
		_, taken := added[name]
		if taken || name == c.runtime || c.onContainerd() {
			continue
		}
		if path, err := exec.LookPath(name); err == nil {
			added[name] = engine.OCIRuntime{Path: path}
		}
	}
}
