package ociruntime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/fifo"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// probeTimeout bounds the question whether a runtime works here.
const probeTimeout = 10 * time.Second

// Choose finds the OCI runtime to use: the one that was asked for, else crun where it runs on this host, else runc. The
// note says why, where there was a choice. Errors are of class FailedPrecondition.
func Choose(ctx context.Context, name, tmp string) (path, note string, err error) {
	if name != "" {
		path, err := Find(name)
		return path, "", err
	}
	crun, crunErr := Find("crun")
	if crunErr == nil {
		if crunErr = probe(ctx, crun, tmp); crunErr == nil {
			return crun, "crun runs on this host", nil
		}
	}
	path, err = Find("runc")
	if err != nil {
		return "", "", fmt.Errorf("no OCI runtime: %w; %w", crunErr, err)
	}
	return path, fmt.Sprintf("not crun: %v", crunErr), nil
}

func Find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("cannot find OCI runtime %q: %v: %w", name, err, errdefs.ErrFailedPrecondition)
	}
	return filepath.Abs(path)
}

// probe lets the runtime create a container and delete it again without starting it: the cheapest way to learn
// whether it takes the host's control groups (crun before 1.9 refuses version 2 mounted beside version 1). The
// program is an empty file, which is looked for but never run.
func probe(ctx context.Context, path, tmp string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	dir, err := os.MkdirTemp(tmp, probePrefix)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := probeBundle(dir); err != nil {
		return err
	}
	files, err := fifo.OpenContainer(ctx, fifo.Paths{})
	if err != nil {
		return err
	}
	defer files.Close()
	r := Runtime{Path: path, Root: filepath.Join(dir, "root")}
	id := probeID(dir)
	err = r.Create(ctx, id, dir, Launch{Dir: dir, Stdio: Stdio{files}})
	cleanup, stop := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer stop()
	return errors.Join(err, r.Delete(cleanup, id, dir))
}

// probePrefix begins the names of the directories of probes.
const probePrefix = "probe"

// probeID is the id of the container of a probe.
func probeID(dir string) string { return "engine-lite-" + filepath.Base(dir) }

func probeBundle(dir string) error {
	const program = "/probe"
	rootfs := filepath.Join(dir, "rootfs")
	for _, mountpoint := range []string{"proc", "dev"} {
		if err := os.MkdirAll(filepath.Join(rootfs, mountpoint), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(rootfs, program), nil, 0o755); err != nil {
		return err
	}
	return statefile.WriteJSON(filepath.Join(dir, "config.json"), specs.Spec{
		Version: "1.0.0",
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Args: []string{program}, Cwd: "/"},
		Mounts:  []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace},
			{Type: specs.MountNamespace}}},
	})
}
