package criu

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/fifo"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// Manifest is what a restore has to know of a checkpoint.
type Manifest struct {
	// Streams are CRIU's names of the FIFOs that were stdin, stdout and stderr; empty for what was no FIFO.
	Streams [3]string `json:"streams"`
	// Terminal tells that they were a terminal.
	Terminal bool `json:"terminal,omitempty"`
	// The others must be the same for the restore as they were for the checkpoint.
	OpenTCP         bool     `json:"openTCP,omitempty"`
	UnixSockets     bool     `json:"unixSockets,omitempty"`
	FileLocks       bool     `json:"fileLocks,omitempty"`
	EmptyNamespaces []string `json:"emptyNamespaces,omitempty"`
	CgroupsMode     string   `json:"cgroupsMode,omitempty"`
}

// Options are those of the OCI runtime that checkpoint and restore share.
func (m Manifest) Options(images, work string) runc.CheckpointOpts {
	return runc.CheckpointOpts{
		ImagePath: images, WorkDir: work, AllowOpenTCP: m.OpenTCP, AllowExternalUnixSockets: m.UnixSockets, FileLocks: m.FileLocks,
		EmptyNamespaces: m.EmptyNamespaces, Cgroups: runc.CgroupMode(m.CgroupsMode),
	}
}

// NameStreams sets the names of a process's FIFOs, and returns the inodes of its outputs.
func (m *Manifest) NameStreams(paths fifo.Paths) (outputs []uint32, err error) {
	for i, path := range []string{paths.Stdin, paths.Stdout, paths.Stderr} {
		if path == "" {
			continue
		}
		var inode uint64
		if m.Streams[i], inode, err = externalFile(path); err != nil {
			return nil, err
		}
		if i > 0 {
			outputs = append(outputs, uint32(inode))
		}
	}
	return outputs, nil
}

// externalFile is the name that CRIU has for a file that a container's process has open and that is in none of its
// mounts (criu.org/External_files).
func externalFile(path string) (name string, inode uint64, err error) {
	var st unix.Statx_t
	err = unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_MNT_ID, &st)
	if err != nil {
		return "", 0, fmt.Errorf("its stream %s is gone: %v: %w", path, err, errdefs.ErrFailedPrecondition)
	}
	return fmt.Sprintf("file[%x:%x]", st.Mnt_id, st.Ino), st.Ino, nil
}

const (
	// ManifestFile, among a checkpoint's images, holds what they don't say.
	ManifestFile = "engine-lite.json"
	// DumpedFile is what CRIU writes into its work directory when, and only when, a dump is complete.
	DumpedFile = "stats-dump"
)

// Restore is where a task comes from.
type Restore struct {
	Images   string   `json:"images"`
	Work     string   `json:"work,omitempty"` // empty for a directory of the task
	Manifest Manifest `json:"manifest"`
}

// PlanRestore checks a request's checkpoint. NotImplemented without CRIU, InvalidArgument for bad paths, NotFound
// without the checkpoint, DataLoss for one that is damaged.
func PlanRestore(images, work string, terminal bool) (*Restore, error) {
	plan := &Restore{Images: images, Work: work}
	for _, path := range []string{plan.Images, plan.Work} {
		if path != "" && (!filepath.IsAbs(path) || filepath.Clean(path) != path) {
			return nil, fmt.Errorf("%.200q is not an absolute and clean path: %w", path, errdefs.ErrInvalidArgument)
		}
	}
	if _, err := Find(); err != nil {
		return nil, err
	}
	info, err := os.Stat(plan.Images)
	if err != nil {
		return nil, fmt.Errorf("no checkpoint: %w", statefile.Classed(err))
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("checkpoint %s is not a directory: %w", plan.Images, errdefs.ErrInvalidArgument)
	}
	// One that runtimed hasn't made has none.
	err = statefile.ReadJSON(filepath.Join(plan.Images, ManifestFile), &plan.Manifest)
	if errdefs.IsNotFound(err) {
		return plan, nil
	}
	if err != nil {
		return nil, err
	}
	if plan.Manifest.Terminal != terminal {
		return nil, fmt.Errorf("terminal is %t in the checkpoint and %t in the request: %w",
			plan.Manifest.Terminal, terminal, errdefs.ErrInvalidArgument)
	}
	return plan, plan.Manifest.check()
}

// externalName is what externalFile makes.
var externalName = regexp.MustCompile(`^file\[[0-9a-f]{1,16}:[0-9a-f]{1,16}\]$`)

// check refuses a manifest with names that are none. It came from a directory of the client's.
func (m Manifest) check() error {
	for _, name := range m.Streams {
		if name != "" && !externalName.MatchString(name) {
			return fmt.Errorf("the checkpoint names a stream %.100q: %w", name, errdefs.ErrDataLoss)
		}
	}
	return nil
}

// Inherit are the arguments by which CRIU gives a restored process its own standard streams in place of the FIFOs
// that they were.
func (m Manifest) Inherit() []string {
	var args []string
	for fd, name := range m.Streams {
		if name != "" {
			args = append(args, "--inherit-fd", "fd["+strconv.Itoa(fd)+"]:"+name)
		}
	}
	return args
}
