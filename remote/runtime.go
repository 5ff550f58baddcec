package remote

import (
	"encoding/json"
	"fmt"
	"maps"
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

// defaultRuntime is the runtime that both runtimed and containerd know.
const defaultRuntime = "io.containerd.runc.v2"

// Labels of a container's record by which runtimed is told what containerd's
// API has no field for.
const (
	// LabelRuntimeArgs is a JSON array of the OCI runtime's global arguments.
	LabelRuntimeArgs = "io.engine-lite.runtime.args"
	// LabelNoClean is "1" where the bundle shall be kept.
	LabelNoClean = "io.engine-lite.noclean"
)

// reservedLabels begins the labels that a record may not bring itself: arguments
// of the runtime must not come in as a user's label.
const reservedLabels = "io.engine-lite."

func runtimeName(name string) string {
	if name == "" {
		return defaultRuntime
	}
	return name
}

// takesRuncOptions tells which types of runtime take runc's options.
func takesRuncOptions(name string) bool {
	switch runtimeName(name) {
	case defaultRuntime, "io.containerd.runc.v1", "io.containerd.runtime.v1.linux":
		return true
	}
	return false
}

// labels are a record's own with those for runtimed.
func (d *Daemon) labels(r libcontainerd.Record) (map[string]string, error) {
	for name := range r.Labels {
		if strings.HasPrefix(name, reservedLabels) {
			return nil, fmt.Errorf("label %q: names that begin with %q are taken: %w", name, reservedLabels, errdefs.ErrInvalidArgument)
		}
	}
	if d.options.CopiesOutput { // containerd
		if len(r.RuntimeArgs) > 0 {
			return nil, fmt.Errorf("containerd has no place for arguments of an OCI runtime (%q): %w", r.RuntimeArgs, errdefs.ErrNotImplemented)
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
		labels[LabelRuntimeArgs] = args
	}
	if r.NoClean {
		labels[LabelNoClean] = "1"
	}
	return labels, nil
}

// encodeArgs refuses what JSON would change on the way.
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

// packed is a typed value as the wire has it; nil for nil.
func packed(v any) (*anypb.Any, error) {
	if v == nil {
		return nil, nil
	}
	if reflect.TypeOf(v).Kind() != reflect.Pointer { // typeurl panics
		return nil, fmt.Errorf("options of type %T are no pointer to a value: %w", v, errdefs.ErrInvalidArgument)
	}
	a, err := typeurl.MarshalAnyToProto(v)
	if err != nil {
		return nil, fmt.Errorf("cannot encode options of type %T: %v: %w", v, err, errdefs.ErrInvalidArgument)
	}
	return a, nil
}

// taskOptions are the options of a task, with what only runc's have a field for.
// They are nil where the record's own, or the runtime's defaults, do.
func taskOptions(c libcontainerd.TaskConfig) (*anypb.Any, error) {
	if !takesRuncOptions(c.Runtime) {
		return nil, foreignOptions(c)
	}
	var opts options.Options
	given, err := packed(c.RuntimeOptions)
	if err != nil {
		return nil, err
	}
	if given != nil {
		if err := typeurl.UnmarshalTo(given, &opts); err != nil {
			return nil, fmt.Errorf("runtime %q takes no options of type %q: %v: %w", runtimeName(c.Runtime), given.TypeUrl, err, errdefs.ErrInvalidArgument)
		}
	}
	proto.Merge(&opts, &options.Options{
		BinaryName: c.RuntimePath, NoPivotRoot: c.NoPivotRoot, SystemdCgroup: c.SystemdCgroup,
		IoUid: c.IoUID, IoGid: c.IoGID, CriuImagePath: c.Checkpoint,
	})
	if proto.Size(&opts) == 0 {
		return nil, nil
	}
	return packed(&opts)
}

// foreignOptions refuses what can't be told to a runtime that doesn't know
// runc's options. NoPivotRoot and the owner of the streams mean nothing to it.
func foreignOptions(c libcontainerd.TaskConfig) error {
	if c.RuntimePath != "" || c.SystemdCgroup {
		return fmt.Errorf("runtime %q takes options of its own, and no path of a binary or systemd control group: %w", c.Runtime, errdefs.ErrInvalidArgument)
	}
	if c.Checkpoint != "" {
		return fmt.Errorf("runtime %q can't be told to restore from a directory: %w", c.Runtime, errdefs.ErrNotImplemented)
	}
	return nil
}
