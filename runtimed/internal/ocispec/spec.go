package ocispec

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"
)

// Parse reads the parts of an OCI spec that matter here. InvalidArgument for what is none.
func Parse(packed *anypb.Any) (*specs.Spec, error) {
	var spec specs.Spec
	if err := json.Unmarshal(packed.GetValue(), &spec); err != nil {
		return nil, fmt.Errorf("cannot read the container's spec: %v: %w", err, errdefs.ErrInvalidArgument)
	}
	if spec.Process == nil || len(spec.Process.Args) == 0 {
		return nil, fmt.Errorf("the container's spec has no process to run: %w", errdefs.ErrInvalidArgument)
	}
	if spec.Root == nil || spec.Root.Path == "" {
		return nil, fmt.Errorf("the container's spec has no root: %w", errdefs.ErrInvalidArgument)
	}
	return &spec, nil
}

// SharesPidNamespace tells whether a container shares somebody's pid namespace.
func SharesPidNamespace(spec *specs.Spec) bool {
	if spec.Linux == nil {
		return true
	}
	i := slices.IndexFunc(spec.Linux.Namespaces,
		func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace })
	return i < 0 || spec.Linux.Namespaces[i].Path != ""
}

// ParseProcess reads an exec's process. InvalidArgument for what is none.
func ParseProcess(data []byte, terminal bool) (*specs.Process, error) {
	var spec specs.Process
	if err := json.Unmarshal(data, &spec); err != nil {
		return nil, fmt.Errorf("cannot read the process's spec: %v: %w", err, errdefs.ErrInvalidArgument)
	}
	if len(spec.Args) == 0 {
		return nil, fmt.Errorf("the process's spec has nothing to run: %w", errdefs.ErrInvalidArgument)
	}
	if spec.Terminal != terminal {
		return nil, fmt.Errorf("terminal is %t in the spec and %t in the request: %w",
			spec.Terminal, terminal, errdefs.ErrInvalidArgument)
	}
	return &spec, nil
}

// CheckRoot refuses a root filesystem that is neither in the bundle nor at a path of its own.
func CheckRoot(spec *specs.Spec, mounted bool) error {
	path := spec.Root.Path
	if !filepath.IsAbs(path) && !filepath.IsLocal(path) {
		return fmt.Errorf("the container's root %.200q leads out of the bundle: %w", path, errdefs.ErrInvalidArgument)
	}
	if mounted && !filepath.IsAbs(path) && filepath.Clean(path) != "rootfs" {
		return fmt.Errorf("the request's mounts are for %q in the bundle and the container's root is %.200q: %w",
			"rootfs", path, errdefs.ErrInvalidArgument)
	}
	return nil
}
