package ociruntime

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// SystemdDir is there if and only if the host was booted with systemd (sd_booted(3)).
const SystemdDir = "/run/systemd/system"

// RuncOptions decodes the first options that are there. InvalidArgument for those of another type than runc's,
// NotImplemented for one that runtimed doesn't do.
func RuncOptions(candidates ...*anypb.Any) (*options.Options, error) {
	for _, packed := range candidates {
		if packed.GetTypeUrl() == "" {
			continue
		}
		var opts options.Options
		err := Unpack(packed, &opts, "no_pivot_root", "no_new_keyring", "io_uid", "io_gid", "binary_name",
			"systemd_cgroup",
			"criu_image_path", "criu_work_path")
		if err != nil {
			return nil, err
		}
		return &opts, nil
	}
	return &options.Options{}, nil
}

// Unpack decodes options of which only the fields that are named are done here. What else is set is refused by its
// name, never ignored.
func Unpack(packed *anypb.Any, into proto.Message, done ...protoreflect.Name) error {
	if err := typeurl.UnmarshalTo(packed, into); err != nil {
		return fmt.Errorf("cannot read the runtime's options: %v: %w", err, errdefs.ErrInvalidArgument)
	}
	m := into.ProtoReflect()
	var refused []string
	m.Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.Contains(done, field.Name()) {
			refused = append(refused, string(field.Name()))
		}
		return true
	})
	if len(m.GetUnknown()) > 0 {
		refused = append(refused, "a field that is not known")
	}
	if len(refused) > 0 {
		slices.Sort(refused)
		return fmt.Errorf("runtimed doesn't do these runtime options: %s: %w",
			strings.Join(refused, ", "), errdefs.ErrNotImplemented)
	}
	return nil
}

// RequireSystemd refuses control groups that nobody would make: the OCI runtime asks systemd for them.
func RequireSystemd(dir string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("cannot let systemd make control groups (systemd_cgroup): this host wasn't booted with systemd: %w",
			errdefs.ErrFailedPrecondition)
	}
	return nil
}

// ownOptions are the OCI runtimes' global options that runtimed sets itself: its own files would not be found with
// others.
var ownOptions = []string{"root", "log", "log-format", "systemd-cgroup"}

// ParseArgs reads the label with the OCI runtime's global arguments. Each is one option, its value behind "=": one
// without a dash would be taken as the command. InvalidArgument for anything else.
func ParseArgs(label string) ([]string, error) {
	if label == "" {
		return nil, nil
	}
	var args []string
	if err := json.Unmarshal([]byte(label), &args); err != nil {
		return nil, fmt.Errorf("label %s is no JSON array of strings: %v: %w",
			LabelArgs, err, errdefs.ErrInvalidArgument)
	}
	for _, arg := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case !strings.HasPrefix(arg, "-"), name == "":
			return nil, fmt.Errorf("argument %.80q of the OCI runtime is not of the form --name or --name=value: %w",
				arg, errdefs.ErrInvalidArgument)
		case strings.ContainsRune(arg, 0):
			return nil, fmt.Errorf("argument %.80q of the OCI runtime holds a zero byte: %w",
				arg, errdefs.ErrInvalidArgument)
		case slices.Contains(ownOptions, name):
			return nil, fmt.Errorf("argument %.80q of the OCI runtime is runtimed's own to set: %w",
				arg, errdefs.ErrInvalidArgument)
		}
	}
	return args, nil
}

// ParseNoClean reads the label that asks for directories to be kept.
func ParseNoClean(label string) (bool, error) {
	switch label {
	case "", "0":
		return false, nil
	case "1":
		return true, nil
	}
	return false, fmt.Errorf("label %s is %.20q instead of \"1\": %w", LabelNoClean, label, errdefs.ErrInvalidArgument)
}

// Labels of a container's record by which a client asks for what containerd's API has no field for.
const (
	LabelArgs    = "io.engine-lite.runtime.args" // a JSON array of the OCI runtime's global arguments
	LabelNoClean = "io.engine-lite.noclean"      // "1": bundle and process directories are kept, see kept.go
)
