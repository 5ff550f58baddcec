// Package users finds the ids of a container's user and groups in the files of the container.
package users

import (
	"io"
	"os"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// Layers returns the directories whose files a root filesystem shows, upmost
// first, read from the mounts that make it: looking a user up needs no mount.
func Layers(mounts []mount.Mount) []string {
	var dirs []string
	for _, m := range mounts {
		if m.Type == "bind" {
			dirs = append(dirs, m.Source)
			continue
		}
		for _, o := range m.Options {
			if upper, ok := strings.CutPrefix(o, "upperdir="); ok {
				dirs = append([]string{upper}, dirs...)
			}
			if lower, ok := strings.CutPrefix(o, "lowerdir="); ok {
				dirs = append(dirs, strings.Split(lower, ":")...)
			}
		}
	}
	return dirs
}

// Resolve turns Docker's user[:group], names or numbers, and more groups
// into ids, with /etc/passwd and /etc/group of the container. InvalidArgument where
// there is no such user or group.
func Resolve(dirs []string, spec string, groups []string) (specs.User, error) {
	root, err := openRoot(dirs)
	if err != nil {
		return specs.User{}, err
	}
	defer root.close()
	passwd, _, err := root.open("etc/passwd")
	if err != nil {
		return specs.User{}, err
	}
	group, _, err := root.open("etc/group")
	defer closeFiles(passwd, group)
	if err != nil {
		return specs.User{}, err
	}
	found, err := user.GetExecUser(spec, nil, reader(passwd), reader(group))
	if err != nil {
		return specs.User{}, classed.Errorf(errdefs.ErrInvalidArgument, "%v", err)
	}
	// The primary group is among the others, as after a login: a program that sets
	// another one mustn't lose the restrictions that files put on this.
	ids, err := checkIDs(append([]int{found.Uid, found.Gid}, found.Sgids...))
	if err != nil {
		return specs.User{}, err
	}
	u := specs.User{UID: ids[0], GID: ids[1]}
	for _, g := range ids[1:] {
		if !slices.Contains(u.AdditionalGids, g) {
			u.AdditionalGids = append(u.AdditionalGids, g)
		}
	}
	more, err := resolveGroups(group, groups)
	if err != nil {
		return specs.User{}, err
	}
	u.AdditionalGids = append(u.AdditionalGids, more...)
	return u, nil
}

func resolveGroups(group *os.File, names []string) ([]uint32, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if group != nil {
		if _, err := group.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
	}
	ids, err := user.GetAdditionalGroups(names, reader(group))
	if err != nil {
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "%v", err)
	}
	return checkIDs(ids)
}

// maxID is the largest id of a user or group that Docker takes.
const maxID = 1<<31 - 1

// checkIDs refuses ids that the files of the container say and that no user or
// group can have: -1 would mean "no change" to setresuid(2), larger ones would
// come out as others.
func checkIDs(ids []int) ([]uint32, error) {
	list := make([]uint32, len(ids))
	for i, id := range ids {
		if id < 0 || id > maxID {
			return nil, classed.Errorf(errdefs.ErrInvalidArgument, "uids and gids must be in range 0-%d, not %d", maxID, id)
		}
		list[i] = uint32(id)
	}
	return list, nil
}

// maxUserFile bounds what is read of a file that the container controls.
const maxUserFile = 4 << 20

func reader(f *os.File) io.Reader {
	if f == nil {
		return strings.NewReader("")
	}
	return io.LimitReader(f, maxUserFile)
}

func closeFiles(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}
