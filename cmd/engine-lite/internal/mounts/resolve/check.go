package resolve

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/classed"
)

const targetIsRoot = "invalid specification: destination can't be '/'"

// Check refuses requests that [Mounts] refuses, as far as each alone shows that: InvalidArgument. exists is that of
// [Host].
func Check(requests []record.MountRequest, exists func(path string) (bool, error)) error {
	for _, m := range requests {
		if err := check(&m, exists); err != nil {
			return err
		}
	}
	return nil
}

// check refuses a mount that makes no sense, as dockerd does, and a bind whose source is not there by exists; nil for a
// source that may be missing. The error is InvalidArgument.
func check(m *record.MountRequest, exists func(path string) (bool, error)) error {
	if text := problem(m, exists); text != "" {
		return invalidMount(m.Type, text)
	}
	return nil
}

func invalidMount(kind record.MountType, text string) error {
	return classed.Errorf(errdefs.ErrInvalidArgument, "invalid mount config for type %q: %s", kind, text)
}

// Missing is the error for a bind whose source is not there.
func Missing(source string) error { return invalidMount(record.MountBind, missing(source)) }

func missing(source string) string { return "bind source path does not exist: " + source }

// problem is what is wrong with a mount; empty for nothing.
func problem(m *record.MountRequest, exists func(path string) (bool, error)) string {
	for _, options := range []struct {
		there bool
		of    record.MountType
		name  string
	}{
		{m.Bind != nil, record.MountBind, "BindOptions"}, {m.Volume != nil, record.MountVolume, "VolumeOptions"},
		{m.Image != nil, record.MountImage, "ImageOptions"}, {m.Tmpfs != nil, record.MountTmpfs, "TmpfsOptions"},
		{m.Cluster, "cluster", "ClusterOptions"},
	} {
		if options.there && m.Type != options.of {
			return "field " + options.name + " must not be specified"
		}
	}
	switch {
	case m.Target == "":
		return emptyField("Target")
	case path.Clean(m.Target) == "/":
		return targetIsRoot
	case !path.IsAbs(m.Target):
		return notAbsolute(m.Target)
	}
	switch m.Type {
	case record.MountBind:
		return bindProblem(m, exists)
	case record.MountVolume:
		if m.Volume == nil || m.Volume.Subpath == "" {
			return ""
		}
		if m.Source == "" {
			return "must not set Subpath when using anonymous volumes"
		}
		return subpathProblem(m.Volume.Subpath)
	case record.MountTmpfs:
		return tmpfsProblem(m)
	case record.MountImage:
		if m.Source == "" {
			return emptyField("Source")
		}
		if m.Image == nil || m.Image.Subpath == "" {
			return ""
		}
		return subpathProblem(m.Image.Subpath)
	}
	return "mount type unknown"
}

func emptyField(name string) string { return "field " + name + " must not be empty" }

func notAbsolute(path string) string {
	return "invalid mount path: '" + path + "' mount path must be absolute"
}

func bindProblem(m *record.MountRequest, exists func(path string) (bool, error)) string {
	var o record.BindOptions
	if m.Bind != nil {
		o = *m.Bind
	}
	switch {
	case m.Source == "":
		return emptyField("Source")
	case o.Propagation != "" && kinds[o.Propagation] != "propagation":
		return "invalid propagation mode: " + o.Propagation
	case !path.IsAbs(m.Source):
		return notAbsolute(m.Source)
	case !m.ReadOnly && o.ReadOnlyNonRecursive:
		return "mount options conflict: !ReadOnly && BindOptions.ReadOnlyNonRecursive"
	case !m.ReadOnly && o.ReadOnlyForceRecursive:
		return "mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive"
	case o.ReadOnlyNonRecursive && o.ReadOnlyForceRecursive:
		return "mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive"
	case exists == nil || o.CreateMountpoint:
		return ""
	}
	switch there, err := exists(m.Source); {
	case err != nil:
		return err.Error()
	case !there:
		return missing(m.Source)
	}
	return ""
}

func subpathProblem(subpath string) string {
	if !filepath.IsLocal(subpath) {
		return "subpath must be a relative path within the volume"
	}
	return ""
}

func tmpfsProblem(m *record.MountRequest) string {
	switch {
	case m.Source != "":
		return "field Source must not be specified"
	case m.Tmpfs == nil:
		return ""
	case m.Tmpfs.SizeBytes < 0:
		return "the size of a tmpfs is not negative"
	}
	for _, option := range m.Tmpfs.Options {
		switch {
		case len(option) < 1 || len(option) > 2:
			return "invalid option array length"
		case !slices.Contains([]string{"exec", "noexec"}, option[0]):
			return "invalid option: " + option[0]
		}
	}
	return ""
}

// mountOf turns a request that passed check into a mount.
func mountOf(req *record.MountRequest) record.Mount {
	m := record.Mount{Type: req.Type, Destination: path.Clean(req.Target), ReadOnly: req.ReadOnly}
	switch req.Type {
	case record.MountBind:
		m.Source, m.Propagation = path.Clean(req.Source), defaultPropagation
		if o := req.Bind; o != nil {
			m.NonRecursive, m.ReadOnlyNonRecursive = o.NonRecursive, o.ReadOnlyNonRecursive
			m.ReadOnlyForceRecursive = o.ReadOnlyForceRecursive
			if o.Propagation != "" {
				m.Propagation, m.PropagationAsked = o.Propagation, true
			}
		}
	case record.MountVolume:
		m.Name, m.CopyUp = req.Source, true
		if o := req.Volume; o != nil {
			m.Driver, m.Subpath, m.CopyUp = o.Driver, o.Subpath, !o.NoCopy
		}
	case record.MountImage:
		m.Name, m.ReadOnly, m.Propagation = req.Source, true, defaultPropagation
		if o := req.Image; o != nil {
			m.Subpath = o.Subpath
		}
	case record.MountTmpfs:
		m.Tmpfs = tmpfsOptions(req.Tmpfs)
	}
	return m
}

// tmpfsOptions are the options of a tmpfs in the form of mount(8).
func tmpfsOptions(o *record.TmpfsOptions) []string {
	var list []string
	if o == nil {
		return list
	}
	if o.Mode != 0 {
		list = append(list, fmt.Sprintf("mode=%o", o.Mode))
	}
	if o.SizeBytes != 0 {
		list = append(list, fmt.Sprintf("size=%d", o.SizeBytes))
	}
	for _, option := range o.Options {
		list = append(list, strings.Join(option, "="))
	}
	return list
}
