package runtimed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/api/events"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/fifo"
)

const (
	// checkpointFile, in a container's directory, tells of a checkpoint that is being made.
	checkpointFile = "checkpoint.json"
	// manifestFile, among a checkpoint's images, holds what they don't say.
	manifestFile = "engine-lite.json"
	// dumpedFile is what CRIU writes into its work directory when, and only when, a dump is complete.
	dumpedFile = "stats-dump"
)

// manifest is what a restore has to know of a checkpoint.
type manifest struct {
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

// options are those of the OCI runtime that checkpoint and restore share.
func (m manifest) options(images, work string) runc.CheckpointOpts {
	return runc.CheckpointOpts{
		ImagePath: images, WorkDir: work, AllowOpenTCP: m.OpenTCP, AllowExternalUnixSockets: m.UnixSockets, FileLocks: m.FileLocks,
		EmptyNamespaces: m.EmptyNamespaces, Cgroups: runc.CgroupMode(m.CgroupsMode),
	}
}

// pendingCheckpoint is the file checkpointFile.
type pendingCheckpoint struct {
	Target  string `json:"target"`
	Partial string `json:"partial"` // beside the target, which it becomes when it is complete
	Work    string `json:"work"`
	// Outputs are the inodes of the FIFOs whose content is not part of the checkpoint, cut to 32 bits.
	Outputs []uint32 `json:"outputs,omitempty"`
}

// Checkpoint writes a running task's processes to the directory options.image_path, which doesn't exist yet or is empty. With options.exit they end
// then, killed by CRIU, and the answer comes after their exit. After an error the task goes on and nothing is left of the checkpoint.
//
// What a container had written to its outputs by then is not in it, whether it was read or not; what it had not read of its stdin is. A terminal
// of the container's own needs no options.terminal, which is for those of somebody else.
func (a *tasksAPI) Checkpoint(ctx context.Context, r *tasks.CheckpointTaskRequest) (*tasks.CheckpointTaskResponse, error) {
	p, err := a.process(ctx, r.ContainerID, "")
	if err != nil {
		return nil, err
	}
	opts, err := checkpointOptions(r)
	if err != nil {
		return nil, fmt.Errorf("cannot checkpoint %s: %w", p, err)
	}
	err = a.d.change(ctx, p.task.c, func(ctx context.Context) error { return a.d.checkpointTask(ctx, p.task, opts) })
	return &tasks.CheckpointTaskResponse{}, err
}

// checkpointOptions decodes and checks a request. InvalidArgument, or NotImplemented for what runtimed doesn't do.
func checkpointOptions(r *tasks.CheckpointTaskRequest) (*options.CheckpointOptions, error) {
	if r.ParentCheckpoint != "" {
		return nil, fmt.Errorf("parent checkpoints are in a content store, which runtimed doesn't have: %w", errdefs.ErrNotImplemented)
	}
	var opts options.CheckpointOptions
	if r.Options.GetTypeUrl() != "" {
		err := unpack(r.Options, &opts, "exit", "open_tcp", "external_unix_sockets", "terminal", "file_locks", "empty_namespaces",
			"cgroups_mode", "image_path", "work_path")
		if err != nil {
			return nil, err
		}
	}
	if opts.ImagePath == "" {
		return nil, fmt.Errorf("runtimed doesn't have a content store, a checkpoint needs a directory (image_path): %w", errdefs.ErrNotImplemented)
	}
	for _, path := range []string{opts.ImagePath, opts.WorkPath} {
		if path != "" && (!filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/") {
			return nil, fmt.Errorf("%.200q is not an absolute and clean path: %w", path, errdefs.ErrInvalidArgument)
		}
	}
	return &opts, nil
}

func (d *Daemon) checkpointTask(ctx context.Context, t *containerTask, opts *options.CheckpointOptions) (err error) {
	if err := t.requireRunning("checkpoint"); err != nil {
		return err
	}
	if err := d.requireCheckpoints(ctx, t.record.Runtime); err != nil {
		return err
	}
	m := manifest{
		Terminal: t.init.record.Terminal, OpenTCP: opts.OpenTcp, UnixSockets: opts.ExternalUnixSockets, FileLocks: opts.FileLocks,
		EmptyNamespaces: opts.EmptyNamespaces, CgroupsMode: opts.CgroupsMode,
	}
	pending, err := d.beginCheckpoint(t, &m, opts)
	if err != nil {
		return err
	}
	if err := d.dump(ctx, t, m, pending, !opts.Exit); err != nil {
		return errors.Join(t.classify(err), d.abandonCheckpoint(t.c, pending))
	}
	if err := d.completeCheckpoint(t.c, pending); err != nil {
		return err
	}
	d.publish(t.c.ns, runtime.TaskCheckpointedEventTopic, &events.TaskCheckpointed{ContainerID: t.c.id, Checkpoint: opts.ImagePath})
	if opts.Exit {
		return awaitEnd(ctx, t.init)
	}
	return nil
}

// beginCheckpoint makes the directories and writes down what is going to be done.
func (d *Daemon) beginCheckpoint(t *containerTask, m *manifest, opts *options.CheckpointOptions) (p pendingCheckpoint, err error) {
	if err := requireFree(opts.ImagePath); err != nil {
		return p, err
	}
	p = pendingCheckpoint{Target: opts.ImagePath, Work: opts.WorkPath}
	if p.Work == "" {
		p.Work = t.init.file("criu")
	}
	if !m.Terminal {
		if p.Outputs, err = m.nameStreams(t.init.record.paths()); err != nil {
			return p, fmt.Errorf("cannot checkpoint %s: %w", t.init, err)
		}
	}
	if p.Partial, err = os.MkdirTemp(filepath.Dir(p.Target), "."+filepath.Base(p.Target)+"."); err != nil {
		return p, fmt.Errorf("cannot make the checkpoint's directory: %w", classed(err))
	}
	err = errors.Join(
		writeJSON(filepath.Join(t.c.dir, checkpointFile), p),
		writeJSON(filepath.Join(p.Partial, manifestFile), m),
		os.MkdirAll(p.Work, 0o700), os.RemoveAll(filepath.Join(p.Work, dumpedFile)),
	)
	if err != nil {
		return p, errors.Join(err, d.abandonCheckpoint(t.c, p))
	}
	return p, nil
}

// nameStreams sets the names of a process's FIFOs, and returns the inodes of its outputs.
func (m *manifest) nameStreams(paths fifo.Paths) (outputs []uint32, err error) {
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

// requireFree refuses a directory for images that has something in it.
func requireFree(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot use the checkpoint's directory: %v: %w", err, errdefs.ErrInvalidArgument)
	case len(entries) > 0:
		return fmt.Errorf("there is something in %s already: %w", path, errdefs.ErrAlreadyExists)
	}
	return nil
}

// externalFile is the name that CRIU has for a file that a container's process has open and that is in none of its mounts (criu.org/External_files).
func externalFile(path string) (name string, inode uint64, err error) {
	var st unix.Statx_t
	err = unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_MNT_ID, &st)
	if err != nil {
		return "", 0, fmt.Errorf("its stream %s is gone: %v: %w", path, err, errdefs.ErrFailedPrecondition)
	}
	return fmt.Sprintf("file[%x:%x]", st.Mnt_id, st.Ino), st.Ino, nil
}

// dump lets the OCI runtime write the images.
func (d *Daemon) dump(ctx context.Context, t *containerTask, m manifest, p pendingCheckpoint, leaveRunning bool) error {
	var args []string
	for _, name := range m.Streams {
		if name != "" {
			args = append(args, "--external", name)
		}
	}
	return d.withCRIU(ctx, args, func(ctx context.Context) error {
		err := t.record.Runtime.checkpoint(ctx, t.c.id, t.init.dir, m.options(p.Partial, p.Work), leaveRunning)
		if err != nil {
			return criuFailure(err, filepath.Join(p.Work, "dump.log"))
		}
		return nil
	})
}

// completeCheckpoint gives complete images their place.
func (d *Daemon) completeCheckpoint(c *container, p pendingCheckpoint) error {
	err := dropPipeData(p.Partial, func(id uint32) bool { return slices.Contains(p.Outputs, id) })
	if err != nil {
		d.log.WithError(err).WithField("container", c.id).Error("a restore of this checkpoint is going to write once more what nobody had read by now")
	}
	if err := unix.Rename(p.Partial, p.Target); err != nil { // os.Rename doesn't replace an empty directory
		return errors.Join(fmt.Errorf("cannot give the checkpoint its place: %w", err), d.abandonCheckpoint(c, p))
	}
	return d.endCheckpoint(c, p)
}

// abandonCheckpoint removes what there is of a checkpoint.
func (d *Daemon) abandonCheckpoint(c *container, p pendingCheckpoint) error {
	return errors.Join(os.RemoveAll(p.Partial), d.endCheckpoint(c, p))
}

func (d *Daemon) endCheckpoint(c *container, p pendingCheckpoint) error {
	var errs []error
	if filepath.Dir(p.Work) == filepath.Join(c.dir, "init") {
		errs = append(errs, os.RemoveAll(p.Work))
	}
	return errors.Join(append(errs, os.RemoveAll(filepath.Join(c.dir, checkpointFile)))...)
}

// loadCheckpoint ends a checkpoint that an earlier daemon had begun: a complete one is kept, since its task may be over because of it.
func (d *Daemon) loadCheckpoint(c *container) error {
	var p pendingCheckpoint
	err := readJSON(filepath.Join(c.dir, checkpointFile), &p)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if exists(p.Partial) && exists(filepath.Join(p.Work, dumpedFile)) {
		return d.completeCheckpoint(c, p)
	}
	return d.abandonCheckpoint(c, p)
}
