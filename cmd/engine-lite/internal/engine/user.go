package engine

import (
	"io"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// layersOf returns the directories whose files a root filesystem shows, upmost
// first, read from the mounts that make it: looking a user up needs no mount.
func layersOf(mounts []mount.Mount) []string {
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

// openIn opens a regular file of the upmost directory that has it. Links are
// followed within that directory only; nil where no directory has the file.
func openIn(dirs []string, name string) *os.File {
	for _, dir := range dirs {
		root, err := os.OpenRoot(dir)
		if err != nil {
			continue
		}
		f, err := root.Open(name)
		_ = root.Close()
		if err != nil {
			continue
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return f
		}
		_ = f.Close()
		return nil // a whiteout: deleted
	}
	return nil
}

// resolveUser turns Docker's user[:group], names or numbers, and more groups
// into ids, with /etc/passwd and /etc/group of the container.
func resolveUser(dirs []string, spec string, groups []string) (specs.User, error) {
	passwd, group := openIn(dirs, "etc/passwd"), openIn(dirs, "etc/group")
	defer closeFiles(passwd, group)
	found, err := user.GetExecUser(spec, nil, reader(passwd), reader(group))
	if err != nil {
		return specs.User{}, refuse(errdefs.ErrInvalidArgument, "unable to find user %s: %v", spec, err)
	}
	u := specs.User{UID: uint32(found.Uid), GID: uint32(found.Gid)}
	for _, g := range found.Sgids {
		u.AdditionalGids = append(u.AdditionalGids, uint32(g))
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
		return nil, refuse(errdefs.ErrInvalidArgument, "%v", err)
	}
	list := make([]uint32, len(ids))
	for i, id := range ids {
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
