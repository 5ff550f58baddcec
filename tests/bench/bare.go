package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// bare is an OCI runtime without an engine. Its containers have the spec that engine-lite
// gave to a container of its own.
type bare struct {
	*place
	oci  string
	spec *specs.Spec
	made atomic.Int64
	held *bareContainer // a container that runs, for execs
}

func newBare(oci string, p *place) target { return &bare{place: p, oci: oci} }

func (b *bare) runtime() string { return b.oci }

func (b *bare) version(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, b.oci, "--version").Output()
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(line, b.oci+" version "), err
}

// open takes over the spec, and starts the container for execs.
func (b *bare) open(ctx context.Context) error {
	if _, err := exec.LookPath(b.oci); err != nil {
		return err
	}
	var err error
	if b.spec, err = b.template.in(b.run); err != nil {
		return err
	}
	if b.held, err = b.container(sleepArgs); err != nil {
		return err
	}
	return b.call(ctx, nil, nil, "run", "--detach", "--bundle", b.held.dir, b.held.id)
}

func (b *bare) close(ctx context.Context) error {
	if b.held == nil {
		return nil
	}
	err := errors.Join(b.call(ctx, nil, nil, "delete", "--force", b.held.id), b.held.remove())
	removeCgroups(b.cgroup())
	return err
}

// call runs the runtime's command line.
func (b *bare) call(ctx context.Context, stdin io.Reader, stdout io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, b.oci, append([]string{"--root", filepath.Join(b.run, "state")}, args...)...)
	// A file, not a pipe to this process: a detached container keeps it open.
	messages, err := os.CreateTemp(b.run, "messages")
	if err != nil {
		return err
	}
	defer messages.Close()
	if err := os.Remove(messages.Name()); err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, messages
	if err := cmd.Run(); err != nil {
		text := make([]byte, 4<<10)
		n, _ := messages.ReadAt(text, 0) // what can't be read is left out
		return fmt.Errorf("%s %s: %w: %s", b.oci, strings.Join(args, " "), err, bytes.TrimSpace(text[:n]))
	}
	return nil
}

// bareContainer is a bundle with its root filesystem mounted.
type bareContainer struct {
	id, dir string // the bundle
	disk    string // the overlay's upper layer and work directory
}

// container makes a bundle, as the engine does: an overlay of its own above the image, and a config.json.
func (b *bare) container(args []string) (*bareContainer, error) {
	id := b.oci + strconv.FormatInt(b.made.Add(1), 10)
	c := &bareContainer{id, filepath.Join(b.run, id), filepath.Join(b.disk, id)}
	spec := *b.spec
	process, linux := *spec.Process, *spec.Linux
	process.Args, linux.CgroupsPath = args, filepath.Join(b.cgroup(), id)
	spec.Process, spec.Linux = &process, &linux
	spec.Root = &specs.Root{Path: "rootfs"}
	data, err := json.Marshal(&spec)
	if err != nil {
		return nil, err
	}
	upper, work, root := filepath.Join(c.disk, "fs"), filepath.Join(c.disk, "work"), filepath.Join(c.dir, "rootfs")
	err = firstError(
		os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o711), os.MkdirAll(root, 0o711),
		os.WriteFile(filepath.Join(c.dir, "config.json"), data, 0o600),
	)
	if err != nil {
		return nil, err
	}
	return c, unix.Mount("overlay", root, "overlay", 0,
		fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", b.image.dir, upper, work))
}

func (c *bareContainer) remove() error {
	return errors.Join(
		unix.Unmount(filepath.Join(c.dir, "rootfs"), 0),
		os.RemoveAll(c.dir), os.RemoveAll(c.disk),
	)
}
