package volumes

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/journal"
)

// driverLocal is the name of the only driver.
const driverLocal = "local"

// anonymousLabel is the label by which Docker and its clients know a volume that nobody has named.
const anonymousLabel = "com.docker.volume.anonymous"

// Volume is the record of a volume.
type Volume struct {
	// Schema is the version of the stored form.
	Schema uint `json:",omitzero"`
	Name   string
	Driver string
	// Labels and Options are as they were in the request: clients tell an empty map from none.
	Labels  map[string]string
	Options map[string]string
	Created time.Time
	// CopyUp says how far the copy of an image's content has come.
	CopyUp CopyUp `json:",omitempty"`
	// Fill is the copy that is under way: CopyUp is CopyFilling.
	Fill *Fill `json:",omitempty"`

	Unknown store.Unknown `json:",embed"`
}

// CopyUp is the state of a volume's content.
type CopyUp string

const (
	// CopyNone is that of a volume into which the engine has copied nothing.
	CopyNone    CopyUp = ""
	CopyFilling CopyUp = "filling"
	CopyFilled  CopyUp = "filled"
)

// Fill is a copy of an image's content into a volume.
type Fill struct {
	// Token names the directory in which the content is put together.
	Token string
	// Within tells that this directory is in the volume and not in .filling: only so it is on the volume's file system.
	Within bool `json:",omitempty"`
	// Subpath is the part of the volume that gets the content; empty for all of it.
	Subpath string `json:",omitempty"`
	// Complete tells that the content is put together, so that the next engine can go on.
	Complete bool `json:",omitempty"`

	Unknown store.Unknown `json:",embed"`
}

// Removed is a volume that was removed, and whose directory is not yet out of the way.
type Removed struct {
	Name string

	Unknown store.Unknown `json:",embed"`
}

var (
	// Records are the volumes by name.
	Records = store.Kind[Volume]{
		Name: "volume", What: "volume", Schema: func(v *Volume) *uint { return &v.Schema }, Valid: valid,
	}
	// Removals are the volumes that were removed, by the token that is the name of their directory in .removed.
	Removals = store.Kind[Removed]{Name: "volume-removal", What: "removed volume", Valid: validRemoval}
)

// Kinds are both.
func Kinds() []store.Registered { return []store.Registered{Records, Removals} }

func valid(name string, v Volume) error {
	switch {
	case v.Name != name:
		return fmt.Errorf("it is of volume %q", v.Name)
	case v.CopyUp == CopyFilling && v.Fill == nil:
		return fmt.Errorf("it is %s and has no Fill", v.CopyUp)
	case v.Fill != nil && !tokenForm.MatchString(v.Fill.Token):
		return fmt.Errorf("its fill has the token %q", v.Fill.Token)
	}
	return checkName(name)
}

func validRemoval(token string, r Removed) error {
	if !tokenForm.MatchString(token) {
		return fmt.Errorf("its token is %q", token)
	}
	return checkName(r.Name)
}

// mounted tells whether the engine mounts a file system for the volume: the options name one.
func (v Volume) mounted() bool { return v.Options["type"] != "" || v.Options["device"] != "" }

// load returns a volume. NotFound where there is none.
func load(r journal.Reader, name string) (Volume, error) {
	v, ok, err := Records.Get(r, name)
	if err == nil && !ok {
		err = noSuchVolume(name)
	}
	return v, err
}

func noSuchVolume(name string) error {
	return classed.Errorf(errdefs.ErrNotFound, "get %s: no such volume", name)
}

// get is load, outside of a transaction.
func (l *Local) get(name string) (v Volume, err error) {
	err = l.store.View(func(s *journal.Snapshot) error {
		v, err = load(s, name)
		return err
	})
	return v, err
}

// bury removes a volume in a transaction. What it has on the disk is settled later.
func bury(tx *store.Tx, v Volume) error {
	Records.Delete(tx, v.Name)
	if err := Removals.Put(tx, token(), Removed{Name: v.Name}); err != nil {
		return err
	}
	tx.Append(event("destroy", v.Name, map[string]string{"driver": v.Driver}))
	return nil
}

func event(action, name string, attributes map[string]string) journal.Event {
	return journal.Event{Time: time.Now().UTC(), Type: "volume", Action: action, ID: name, Attributes: attributes}
}

// mountsOf is the part of a container's record that says which volumes the container has.
type mountsOf struct {
	Mounts []struct {
		Type record.MountType
		Name string
	}
}

// users returns the ids of the containers that have a volume, in order. Any record counts, whatever its container does.
// So does one that cannot be read, if it has the volume's name in it.
func users(r journal.Reader, name string) (ids []string, err error) {
	quoted := []byte(`"` + name + `"`)
	err = r.ForEach(record.Containers.Name, func(id string, raw []byte) error {
		if !bytes.Contains(raw, quoted) { // nearly all: it is too much to read each record for every removal
			return nil
		}
		if slices.Contains(volumesOf(raw, name), name) {
			ids = append(ids, id)
		}
		return nil
	})
	return ids, err
}

// volumesOf returns the volumes of a container's record as it is stored; otherwise if nobody can read them.
func volumesOf(raw []byte, otherwise string) (names []string) {
	var m mountsOf
	if err := store.Unmarshal(raw, &m); err != nil {
		return []string{otherwise}
	}
	for _, mount := range m.Mounts {
		if mount.Type == record.MountVolume && !slices.Contains(names, mount.Name) {
			names = append(names, mount.Name)
		}
	}
	return names
}

// countUsers returns how many containers each volume has.
func countUsers(r journal.Reader) (map[string]int64, error) {
	counts := map[string]int64{}
	kind := []byte(`"` + record.MountVolume + `"`)
	return counts, r.ForEach(record.Containers.Name, func(_ string, raw []byte) error {
		if bytes.Contains(raw, kind) {
			for _, name := range volumesOf(raw, "") {
				counts[name]++
			}
		}
		return nil
	})
}
