package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// template is the spec that engine-lite gave to a container, and the content of the files
// that the spec binds.
type template struct {
	config []byte
	files  map[string][]byte // by their paths in the container
}

// takeTemplate reads the spec of a container from its bundle at engine-lite.
func takeTemplate(ctx context.Context, d *daemon) (t *template, err error) {
	id, err := d.running(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.remove(ctx, id)) }()
	paths, err := filepath.Glob(filepath.Join(d.run, "runtimed/*", id, "bundle/config.json"))
	if err != nil || len(paths) != 1 {
		return nil, fmt.Errorf("the bundle of container %s: found %q, %v", id, paths, err)
	}
	t = &template{files: map[string][]byte{}}
	if t.config, err = os.ReadFile(paths[0]); err != nil {
		return nil, err
	}
	s, err := t.spec()
	if err != nil {
		return nil, err
	}
	if s.Process == nil || s.Linux == nil || s.Linux.Seccomp == nil {
		return nil, errors.New("the engine's container has no seccomp profile")
	}
	for _, m := range s.Mounts {
		if m.Type != "bind" {
			continue
		}
		if t.files[m.Destination], err = os.ReadFile(m.Source); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *template) spec() (*specs.Spec, error) {
	s := &specs.Spec{}
	return s, json.Unmarshal(t.config, s)
}

// in writes the files to a directory, and returns the spec with their paths.
func (t *template) in(dir string) (*specs.Spec, error) {
	s, err := t.spec()
	if err != nil {
		return nil, err
	}
	for i, m := range s.Mounts {
		data, ours := t.files[m.Destination]
		if !ours {
			continue
		}
		s.Mounts[i].Source = filepath.Join(dir, filepath.Base(m.Destination))
		if err := os.WriteFile(s.Mounts[i].Source, data, 0o644); err != nil {
			return nil, err
		}
	}
	return s, nil
}
