package ocispec

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/runtimed/internal/proc"
)

// Annotations of a spec that make a container a sandbox or put it into one, as Kubernetes' container runtimes write
// them. On a sandbox the id is its own, or absent.
const (
	annotationType    = "io.kubernetes.cri.container-type"
	annotationSandbox = "io.kubernetes.cri.sandbox-id"
	typeSandbox       = "sandbox"
	typeMember        = "container"
)

// SandboxRef names one run of a sandbox: another of the same id has another init process.
type SandboxRef struct {
	ID    string `json:"id"`
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"`
}

// SandboxRole reads a spec's annotations: whether the container is a sandbox, and else the id of the one it is in, if
// any. InvalidArgument for what doesn't go together.
func SandboxRole(id string, spec *specs.Spec) (isSandbox bool, sandbox string, err error) {
	kind, typed := spec.Annotations[annotationType]
	sandbox = spec.Annotations[annotationSandbox]
	var wrong string
	switch {
	case !typed && sandbox == "":
		return false, "", nil
	case !typed:
		wrong = fmt.Sprintf("is in sandbox %.80q and has no annotation %s", sandbox, annotationType)
	case kind == typeSandbox && (sandbox == "" || sandbox == id):
		return true, "", nil
	case kind == typeSandbox:
		wrong = fmt.Sprintf("is a sandbox and says that it is in %.80q", sandbox)
	case kind != typeMember:
		wrong = fmt.Sprintf("is of the unknown type %.80q, not %q or %q", kind, typeSandbox, typeMember)
	case sandbox == "":
		wrong = "is in a sandbox and has no annotation " + annotationSandbox
	case sandbox == id:
		wrong = "says that it is in itself"
	default:
		if err := identifiers.Validate(sandbox); err != nil {
			return false, "", fmt.Errorf("bad sandbox id: %w", err)
		}
		return false, sandbox, nil
	}
	return false, "", fmt.Errorf("container %q %s: %w", id, wrong, errdefs.ErrInvalidArgument)
}

// CheckHostname refuses a container that would rename its sandbox: host and domain name belong to the UTS namespace.
func CheckHostname(spec, own *specs.Spec, sandbox string) error {
	if i := NamespaceIndex(spec, specs.UTSNamespace); i >= 0 && spec.Linux.Namespaces[i].Path != "" {
		return nil // its own
	}
	for _, name := range []struct{ wanted, had string }{{spec.Hostname, own.Hostname},
		{spec.Domainname, own.Domainname}} {
		if name.wanted != "" && name.wanted != name.had {
			return fmt.Errorf("a container of sandbox %q can't have the name %.80q, it shares the sandbox's, %q: %w",
				sandbox, name.wanted, name.had, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// ShareUsers holds CRI's rule for user namespaces: a sandbox has one for all that is in it, or none. The sandbox's
// other namespaces belong to it, so that nobody from another one could join them. A container without one gets the
// sandbox's, with its mappings; one that brings its own, or other mappings, is refused.
func ShareUsers(spec, own *specs.Spec, sandbox string) error {
	mine, theirs := NamespaceIndex(spec, specs.UserNamespace), NamespaceIndex(own, specs.UserNamespace)
	if theirs < 0 {
		if mine >= 0 {
			return fmt.Errorf("a container of sandbox %q can't have a user namespace, the sandbox has none: %w",
				sandbox, errdefs.ErrInvalidArgument)
		}
		return nil
	}
	if spec.Linux == nil {
		spec.Linux = &specs.Linux{}
	}
	linux := spec.Linux
	switch {
	case mine < 0:
		linux.Namespaces = append(slices.Clone(linux.Namespaces), specs.LinuxNamespace{Type: specs.UserNamespace})
	case linux.Namespaces[mine].Path != "":
		return fmt.Errorf("a container of sandbox %q can't have another user namespace than the sandbox's: %w",
			sandbox, errdefs.ErrInvalidArgument)
	}
	for _, m := range []struct{ wanted, had []specs.LinuxIDMapping }{
		{linux.UIDMappings, own.Linux.UIDMappings}, {linux.GIDMappings, own.Linux.GIDMappings},
	} {
		if len(m.wanted) > 0 && !slices.Equal(m.wanted, m.had) {
			return fmt.Errorf("a container of sandbox %q can't have other ids than the sandbox, whose user namespace it shares: %w",
				sandbox, errdefs.ErrInvalidArgument)
		}
	}
	linux.UIDMappings, linux.GIDMappings = own.Linux.UIDMappings, own.Linux.GIDMappings
	return nil
}

// Pins are open namespaces. An open one stays what it is, and doesn't go away.
type Pins []*os.File

func (p Pins) Close() {
	for _, f := range p {
		f.Close()
	}
}

// Share changes a spec's namespaces to those of a sandbox: network, IPC and UTS where it gives no path for them, PID
// where the spec has no PID namespace at all (to leave that out is to ask for the one around the container), and the
// user namespace where ShareUsers has left one. The caller closes the pins once the OCI runtime has used them.
func Share(spec *specs.Spec, ref SandboxRef) (_ Pins, err error) {
	var open Pins
	defer func() {
		if err != nil {
			open.Close()
		}
	}()
	if spec.Linux == nil {
		spec.Linux = &specs.Linux{}
	}
	list := slices.Clone(spec.Linux.Namespaces)
	for _, n := range []struct {
		kind specs.LinuxNamespaceType
		file string
	}{{specs.UserNamespace, "user"}, {specs.NetworkNamespace, "net"}, {specs.IPCNamespace,
		"ipc"}, {specs.UTSNamespace, "uts"}, {specs.PIDNamespace, "pid"}} {
		i := NamespaceIndex(spec, n.kind)
		if i < 0 && n.kind == specs.UserNamespace {
			continue
		}
		if i >= 0 && (n.kind == specs.PIDNamespace || list[i].Path != "") {
			continue
		}
		f, err := os.Open(filepath.Join("/proc", strconv.Itoa(ref.Pid), "ns", n.file))
		if err != nil {
			return nil, fmt.Errorf("%v: %w", err, errdefs.ErrFailedPrecondition) // it is ending
		}
		open = append(open, f)
		path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
		if i < 0 {
			list = append(list, specs.LinuxNamespace{Type: n.kind, Path: path})
		} else {
			list[i].Path = path
		}
	}
	if !proc.Alive(ref.Pid, ref.Start) { // looked at after all were opened: they were those of this process
		return nil, fmt.Errorf("the sandbox has ended: %w", errdefs.ErrFailedPrecondition)
	}
	spec.Linux.Namespaces = list
	return open, nil
}

// NamespaceIndex finds a kind of namespace in a spec; -1 if it isn't there.
func NamespaceIndex(spec *specs.Spec, kind specs.LinuxNamespaceType) int {
	if spec.Linux == nil {
		return -1
	}
	return slices.IndexFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
}
