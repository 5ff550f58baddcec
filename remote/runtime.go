package remote

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// defaultRuntime is the type of runtime that both runtimed and containerd have.
const defaultRuntime = "io.containerd.runc.v2"

// The labels of a container's record that pass options to runtimed, for which
// containerd's API has no field.
const (
	// labelRuntimeArgs is a JSON array of the OCI runtime's global arguments.
	labelRuntimeArgs = "io.engine-lite.runtime.args"
	// labelNoClean is "1" if runtimed shall keep the bundle and the process directories.
	labelNoClean = "io.engine-lite.noclean"
)

// reservedLabels is the prefix of labels that a record must not have itself. Else a user
// could pass arguments to the OCI runtime by a label.
const reservedLabels = "io.engine-lite."

func runtimeName(name string) string {
	if name == "" {
		return defaultRuntime
	}
	return name
}

// runtimeType checks the type of a runtime, since not every release of containerd does.
// A type is a name such as io.containerd.kata.v2, whose last two parts are in the name of
// the shim's program, or the absolute path of that program.
func runtimeType(name string) (string, error) {
	name = runtimeName(name)
	if filepath.IsAbs(name) || strings.Contains(name, ".") && libcontainerd.CheckID(name) == nil {
		return name, nil
	}
	return "", fmt.Errorf("runtime %q is neither a type like %s nor an absolute path: %w", name, defaultRuntime,
		errdefs.ErrInvalidArgument)
}

// takesRuncOptions reports whether runtimes of a type take runc's options.
func takesRuncOptions(name string) bool {
	switch runtimeName(name) {
	case defaultRuntime, "io.containerd.runc.v1", "io.containerd.runtime.v1.linux":
		return true
	}
	return false
}

// labels returns the labels of a record, with those for runtimed.
func (d *Daemon) labels(r libcontainerd.Record) (map[string]string, error) {
	for name := range r.Labels {
		if strings.HasPrefix(name, reservedLabels) {
			return nil, fmt.Errorf("label %q: names that begin with %q are taken: %w", name, reservedLabels,
				errdefs.ErrInvalidArgument)
		}
	}
	if d.CopiesOutput() { // containerd
		if len(r.RuntimeArgs) > 0 {
			return nil, fmt.Errorf("containerd has no place for arguments of an OCI runtime (%q): %w", r.RuntimeArgs,
				errdefs.ErrNotImplemented)
		}
		return r.Labels, nil
	}
	if len(r.RuntimeArgs) == 0 && !r.NoClean {
		return r.Labels, nil
	}
	labels := maps.Clone(r.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	if len(r.RuntimeArgs) > 0 {
		args, err := encodeArgs(r.RuntimeArgs)
		if err != nil {
			return nil, err
		}
		labels[labelRuntimeArgs] = args
	}
	if r.NoClean {
		labels[labelNoClean] = "1"
	}
	return labels, nil
}

// encodeArgs encodes arguments as JSON. It refuses those that are not UTF-8, which JSON
// would change.
func encodeArgs(args []string) (string, error) {
	for _, arg := range args {
		if !utf8.ValidString(arg) {
			return "", fmt.Errorf("argument %q of the OCI runtime is not UTF-8: %w", arg, errdefs.ErrInvalidArgument)
		}
	}
	b, err := json.Marshal(args)
	if err != nil {
		return "", fmt.Errorf("cannot encode the OCI runtime's arguments: %w", err)
	}
	return string(b), nil
}

// EncodeOptions encodes the options of a runtime: a protobuf message, or a pointer to a type that is registered with
// github.com/containerd/typeurl. Errors: InvalidArgument.
func EncodeOptions(v any) (*libcontainerd.RuntimeOptions, error) {
	a, err := encode(v)
	if err != nil {
		return nil, err
	}
	return &libcontainerd.RuntimeOptions{TypeURL: a.TypeUrl, Value: a.Value}, nil
}

// packed is the options in a message; nil for nil.
func packed(o *libcontainerd.RuntimeOptions) *anypb.Any {
	if o == nil {
		return nil
	}
	return &anypb.Any{TypeUrl: o.TypeURL, Value: o.Value}
}

// encode encodes a value for a message.
func encode(v any) (*anypb.Any, error) {
	if v == nil || reflect.TypeOf(v).Kind() != reflect.Pointer { // typeurl panics
		return nil, fmt.Errorf("options of type %T are no pointer to a value: %w", v, errdefs.ErrInvalidArgument)
	}
	a, err := typeurl.MarshalAnyToProto(v)
	if err != nil {
		return nil, fmt.Errorf("cannot encode options of type %T: %v: %w", v, err, errdefs.ErrInvalidArgument)
	}
	return a, nil
}

// taskOptions returns the runtime options of a task. It returns nil if those of the
// record, or the runtime's defaults, are enough.
func taskOptions(c libcontainerd.TaskConfig) (*anypb.Any, error) {
	if !takesRuncOptions(c.Runtime) {
		return nil, checkOtherRuntime(c)
	}
	var opts options.Options
	if given := packed(c.RuntimeOptions); given != nil {
		if err := typeurl.UnmarshalTo(given, &opts); err != nil {
			return nil, fmt.Errorf("runtime %q takes no options of type %q: %v: %w", runtimeName(c.Runtime), given.TypeUrl,
				err, errdefs.ErrInvalidArgument)
		}
	}
	proto.Merge(&opts, &options.Options{
		BinaryName: c.RuntimePath, NoPivotRoot: c.NoPivotRoot, SystemdCgroup: c.SystemdCgroup,
		IoUid: c.IoUID, IoGid: c.IoGID, CriuImagePath: c.Checkpoint,
	})
	if proto.Size(&opts) == 0 {
		return nil, nil
	}
	return encode(&opts)
}

// checkOtherRuntime refuses options that only runc's type takes, for a runtime of another
// type. NoPivotRoot and the owner of the streams are left out without an error, since
// they mean nothing to such a runtime.
func checkOtherRuntime(c libcontainerd.TaskConfig) error {
	if c.RuntimePath != "" || c.SystemdCgroup {
		return fmt.Errorf("runtime %q takes neither the path of a binary nor a systemd control group: %w",
			c.Runtime, errdefs.ErrInvalidArgument)
	}
	if c.Checkpoint != "" {
		return fmt.Errorf("runtime %q has no option to restore from a directory: %w",
			c.Runtime, errdefs.ErrNotImplemented)
	}
	return nil
}
