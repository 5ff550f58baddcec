package core

import (
	"fmt"
	"path/filepath"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// rootFormat is the number of the format of the files below the root that this program writes, and the newest that it
// reads.
const rootFormat = 1

// rootRecord is the file "root.json": what the other files below the root are, and of which boot.
type rootRecord struct {
	Format int `json:"format"`
	// Boot is the host's boot in which the processes were made; empty if it isn't known.
	Boot string `json:"boot,omitempty"`
}

// examineRoot finds out what an earlier daemon has left: whether it can be read, and whether the host was booted
// since, so that none of its processes is there any more, whoever has their pids now. Errors: FailedPrecondition if a
// newer version of the program wrote it.
func (d *Daemon) examineRoot() (now rootRecord, err error) {
	now.Format = rootFormat
	if now.Boot, err = keeper.Boot(); err != nil {
		return now, err
	}
	var was rootRecord
	err = statefile.ReadJSON(d.rootFile(), &was)
	switch {
	case errdefs.IsNotFound(err):
		return now, nil
	case err != nil:
		return now, err
	case was.Format > rootFormat:
		return now, fmt.Errorf("%s has format %d, and this runtimed reads formats up to %d: %w",
			d.opts.Root, was.Format, rootFormat, errdefs.ErrFailedPrecondition)
	}
	d.rebooted = was.Boot != "" && was.Boot != now.Boot
	return now, nil
}

func (d *Daemon) rootFile() string { return filepath.Join(d.opts.Root, "root.json") }
