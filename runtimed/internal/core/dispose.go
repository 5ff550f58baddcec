package core

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// asideStamp begins the name of what is kept, so that the next of the same name finds its place.
const asideStamp = "20060102T150405.000000000"

// dispose removes a bundle or the directory of a process. For a container that is not to be cleaned it moves the
// directory to ROOT/.kept/NS/ID/TIME-NAME instead, for a person to look at. The daemon neither reads nor removes it
// there. A missing path is no error.
func (t *containerTask) dispose(path string) error {
	d := t.c.d
	if !t.record.NoClean {
		return os.RemoveAll(path)
	}
	dir := filepath.Join(d.opts.Root, ".kept", t.c.ns, t.c.id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	name := strings.ReplaceAll(strings.TrimPrefix(path, t.c.dir+"/"), "/", "-")
	err := os.Rename(path, filepath.Join(dir, time.Now().UTC().Format(asideStamp)+"-"+name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
