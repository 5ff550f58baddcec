package volumes

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
)

const nameChars = `[a-zA-Z0-9][a-zA-Z0-9_.-]`

// maxName is the most bytes that a name of a directory has.
const maxName = 255

var (
	nameForm  = regexp.MustCompile(`^` + nameChars + `+$`)
	tokenForm = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

func invalid(format string, args ...any) error {
	return classed.Errorf(errdefs.ErrInvalidArgument, format, args...)
}

// checkName refuses what is no name of a volume: InvalidArgument.
func checkName(name string) error {
	switch {
	case len(name) == 1:
		return invalid("volume name is too short, names should be at least two alphanumeric characters")
	case !nameForm.MatchString(name):
		return invalid("%q includes invalid characters for a local volume name, only %q are allowed. "+
			"If you intended to pass a host directory, use absolute path", name, nameChars)
	case len(name) > maxName:
		return invalid("volume name is too long, names should have at most %d characters", maxName)
	}
	return nil
}

// needs are the options of the driver, and which others each of them needs.
var needs = []struct {
	option string
	others []string
}{{"device", []string{"type"}}, {"o", []string{"device", "type"}}, {"size", nil}, {"type", []string{"device"}}}

// checkOptions refuses options that the driver local does not have: InvalidArgument.
func checkOptions(options map[string]string) error {
	known := 0
	for _, n := range needs {
		if _, ok := options[n.option]; !ok {
			continue
		}
		known++
		for _, other := range n.others {
			if _, ok := options[other]; !ok {
				return invalid("missing required option: %q", other)
			}
		}
	}
	if known < len(options) {
		return unknownOption(options)
	}
	if options["type"] == "cifs" {
		if err := checkCIFS(options["device"]); err != nil {
			return err
		}
	}
	if size, ok := options["size"]; ok {
		bytes, err := units.RAMInBytes(size)
		if err != nil {
			return invalid("%v", err)
		}
		if bytes > 0 {
			return invalid("quota size requested but no quota support")
		}
	}
	return nil
}

func unknownOption(options map[string]string) error {
	var unknown []string
	for option := range options {
		if !slices.ContainsFunc(needs, func(n struct {
			option string
			others []string
		},
		) bool {
			return n.option == option
		}) {
			unknown = append(unknown, option)
		}
	}
	return invalid("invalid option: %q", slices.Min(unknown))
}

func checkCIFS(device string) error {
	u, err := url.Parse(device)
	if err != nil {
		return invalid("error parsing mount device url: %v", err)
	}
	if u.Port() != "" {
		return invalid("port not allowed in CIFS device URL, include 'port' in 'o='")
	}
	return nil
}

// add makes a volume in a transaction, unless there is one with its name: that is returned. The driver may be empty.
// Errors have Docker's words: InvalidArgument, NotFound for a driver that is not there, Conflict for a volume of
// another driver.
func add(tx *store.Tx, v Volume) (Volume, error) {
	if v.Driver != "" && v.Driver != driverLocal {
		return v, classed.Errorf(errdefs.ErrNotFound,
			"create %s: error looking up volume plugin %s: plugin %q not found", v.Name, v.Driver, v.Driver)
	}
	have, ok, err := Records.Get(tx, v.Name)
	switch {
	case err != nil:
		return v, err
	case ok && v.Driver != "" && v.Driver != have.Driver:
		return v, classed.Errorf(errdefs.ErrConflict,
			"create %s: driver '%s' already has volume '%s': volume name must be unique", v.Name, have.Driver, v.Name)
	case ok:
		return have, nil
	}
	for _, err := range []error{checkName(v.Name), checkOptions(v.Options), checkSize(v)} {
		if err != nil {
			return v, invalid("create %s: %v", v.Name, err)
		}
	}
	v.Driver, v.Created = driverLocal, time.Now().UTC()
	if err := Records.Put(tx, v.Name, v); err != nil {
		return v, err
	}
	tx.Append(event("create", v.Name, map[string]string{"driver": v.Driver}))
	return v, nil
}

// maxText bounds the bytes of a volume's labels and options together: each list of volumes has them.
const maxText = 512 << 10

func checkSize(v Volume) error {
	size := 0
	for _, m := range []map[string]string{v.Labels, v.Options} {
		for key, value := range m {
			size += len(key) + len(value)
		}
	}
	if size > maxText {
		return fmt.Errorf("the volume's labels and options have %d bytes, more than %d", size, maxText)
	}
	return nil
}

// create makes a volume with its directory, unless there is one with its name. Its errors are those of add.
func (l *Local) create(ctx context.Context, v Volume) (made Volume, err error) {
	unlock, err := l.lock(ctx, v.Name) // nobody removes the volume between record and directory
	if err != nil {
		return v, err
	}
	defer unlock()
	if err := l.store.Update(ctx, func(tx *store.Tx) error {
		made, err = add(tx, v)
		return err
	}); err != nil {
		return v, err
	}
	l.did("create: record")
	return made, l.prepare(ctx, v.Name)
}

// Reserve makes the volumes of a new container that are missing. Their directories come with Fill or Acquire.
func (l *Local) Reserve(tx *store.Tx, r *record.Record) error {
	for _, m := range r.Mounts {
		if m.Type != record.MountVolume {
			continue
		}
		v := Volume{Name: m.Name, Driver: m.Driver}
		if asked := request(r, m.Destination); asked != nil {
			v.Labels, v.Options = asked.Labels, asked.DriverOptions
			v.Driver = cmp.Or(v.Driver, asked.Driver)
		}
		if m.Anonymous {
			v.Labels = anonymous(v.Labels)
		}
		if _, err := add(tx, v); err != nil {
			return err
		}
	}
	return nil
}

// request returns what --mount says of the volume at a path; nil where it says nothing.
func request(r *record.Record, destination string) *record.VolumeOptions {
	for _, m := range r.HostConfig.Mounts {
		if m.Type == record.MountVolume && filepath.Clean(m.Target) == destination {
			return m.Volume
		}
	}
	return nil
}

// anonymous returns a copy of labels with that of a volume without a name of its own.
func anonymous(labels map[string]string) map[string]string {
	all := map[string]string{anonymousLabel: ""}
	for key, value := range labels {
		if key != anonymousLabel {
			all[key] = value
		}
	}
	return all
}
