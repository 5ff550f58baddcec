package libcontainerd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// CreateOptions are the options of a container that its OCI spec has no field for. The daemon refuses options that
// it can't follow, in Create or in Start: with InvalidArgument for a wrong value, with NotImplemented for an option
// that it doesn't have.
type CreateOptions struct {
	// Labels are stored by the daemon. Names that begin with "io.engine-lite." are reserved, and refused with
	// InvalidArgument.
	Labels map[string]string `json:"labels,omitempty"`
	// Runtime is the runtime's type, such as "io.containerd.runc.v2". Empty is the daemon's default.
	Runtime string `json:"runtime,omitempty"`
	// RuntimeOptions are options for a runtime of this type; nil is none. For runtimes of the type runc they are merged
	// with the fields below, which have priority.
	RuntimeOptions *RuntimeOptions `json:"runtimeOptions,omitempty"`
	// RuntimePath is the path of the OCI runtime's program. Empty lets the daemon choose. RuntimePath, RuntimeArgs
	// and SystemdCgroup are for runtimes of the type runc only.
	RuntimePath string `json:"runtimePath,omitempty"`
	// RuntimeArgs are arguments that the OCI runtime gets before its command. runtimed takes them; containerd's API
	// has no field for them.
	RuntimeArgs []string `json:"runtimeArgs,omitempty"`
	// Rootfs are the mounts that the daemon makes for the root filesystem at each start. It is empty where the
	// spec's root path exists already.
	Rootfs []Mount `json:"rootfs,omitempty"`
	// NoPivotRoot has the OCI runtime call chroot(2) and not pivot_root(2), for hosts whose root is a ramdisk. It
	// is set for all containers if the client's environment has DOCKER_RAMDISK.
	NoPivotRoot bool `json:"noPivotRoot,omitempty"`
	// SystemdCgroup has the OCI runtime make the control group through systemd. The spec's cgroupsPath must have
	// the form slice:prefix:name then.
	SystemdCgroup bool `json:"systemdCgroup,omitempty"`
	// UID and GID are the owner of the stdio of the container's processes.
	UID uint32 `json:"uid,omitempty"`
	GID uint32 `json:"gid,omitempty"`
}

// RuntimeOptions are options for a type of runtime, encoded as a google.protobuf.Any: the URL of the message's type and
// its bytes. remote.EncodeOptions makes them of a message.
type RuntimeOptions struct {
	TypeURL string `json:"typeUrl"`
	Value   []byte `json:"value"`
}

// WithRuntime returns a copy of the options with another OCI runtime: the path of its program, and arguments that
// it gets before its command.
func (o CreateOptions) WithRuntime(path string, args ...string) CreateOptions {
	o.RuntimePath, o.RuntimeArgs = path, args
	return o
}

// Create makes a container: it stores a record at the daemon. The id must pass CheckID, and the spec must have a
// process. A record or a stopped task that an earlier container of the same id left at the daemon is replaced.
//
// Errors: InvalidArgument; AlreadyExists if this client has a container of that id, or the daemon has a running
// task of it; Unavailable; those of the daemon.
func (c *Client) Create(ctx context.Context, id string, spec *specs.Spec, opts CreateOptions) (*Container, error) {
	if spec == nil || spec.Process == nil {
		return nil, fmt.Errorf("the spec of container %q has no process: %w", id, errdefs.ErrInvalidArgument)
	}
	for name, value := range opts.Labels {
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, fmt.Errorf("label %q=%q of container %q is not UTF-8: %w",
				name, value, id, errdefs.ErrInvalidArgument)
		}
	}
	if err := c.reserve(ctx, id); err != nil {
		return nil, err
	}
	rec := Record{ID: id, Spec: spec, Labels: opts.Labels, Runtime: opts.Runtime,
		RuntimeOptions: opts.RuntimeOptions, RuntimeArgs: opts.RuntimeArgs, NoClean: c.options.noClean}
	if err := c.store(ctx, rec); err != nil {
		c.release(id)
		return nil, fmt.Errorf("cannot create container %q: %w", id, err)
	}
	ctr := newContainer(c, id, opts)
	ctr.terminal = new(spec.Process.Terminal)
	ctr.rec.transition(StatusCreated)
	c.add(ctr)
	return ctr, nil
}

// store creates the record at the daemon, and replaces leftovers of an earlier container. After an error no record
// is left.
func (c *Client) store(ctx context.Context, rec Record) error {
	err := c.daemon.CreateContainer(ctx, rec)
	if errdefs.IsAlreadyExists(err) {
		if err := c.deleteLeftovers(ctx, rec.ID); err != nil {
			return err
		}
		err = c.daemon.CreateContainer(ctx, rec)
	}
	if err != nil && !errdefs.IsAlreadyExists(err) {
		c.undoCreate(rec.ID)
	}
	return err
}

// undoCreate deletes the record of a reserved id whose creation failed: the daemon may have stored it all the same.
// If that fails too, a later reconcile deletes the record.
func (c *Client) undoCreate(id string) {
	ctx, cancel := c.undoing()
	defer cancel()
	err := c.deleteLeftovers(ctx, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil || errdefs.IsAlreadyExists(err) {
		delete(c.leftovers, id)
		return
	}
	c.leftovers[id] = true
}

// ClearLeftover deletes the record that a failed Create of this id may have left at the daemon. The client does
// that by itself with one of its next reconciles. An engine that removes its own record of the id calls
// ClearLeftover first, since the next client knows nothing of the leftover.
//
// It returns nil at once, without a call to the daemon, if nothing can be left. The error is Unavailable if the
// record could not be deleted.
func (c *Client) ClearLeftover(id string) error {
	if !c.hasLeftover(id) {
		return nil
	}
	ctx, cancel := c.undoing()
	defer cancel()
	if err := c.reserve(ctx, id); err != nil {
		return err
	}
	defer c.release(id)
	c.undoCreate(id)
	if c.hasLeftover(id) {
		return fmt.Errorf("cannot delete what a failed create of container %q may have left: %w",
			id, errdefs.ErrUnavailable)
	}
	return nil
}

func (c *Client) hasLeftover(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leftovers[id]
}

// clearLeftovers calls undoCreate again for all ids where it has failed.
func (c *Client) clearLeftovers() {
	c.mu.Lock()
	ids := slices.Sorted(maps.Keys(c.leftovers))
	c.mu.Unlock()
	for _, id := range ids {
		c.clearLeftover(id)
	}
}

// clearLeftover does nothing while a request has reserved the id: that request deletes the leftover itself.
func (c *Client) clearLeftover(id string) {
	done := make(chan struct{})
	c.mu.Lock()
	err := c.reserveLocked(id)
	if err == nil {
		c.clearing[id] = done
	}
	c.mu.Unlock()
	if err != nil {
		return
	}
	c.undoCreate(id)
	c.mu.Lock()
	delete(c.clearing, id)
	delete(c.reserved, id)
	c.mu.Unlock()
	close(done)
}

// deleteLeftovers deletes the record and the task that the daemon has for an id that no container of this client
// has. A running task is no leftover, and makes it fail with AlreadyExists.
func (c *Client) deleteLeftovers(ctx context.Context, id string) error {
	t, err := c.daemon.Process(ctx, id, InitProcess)
	switch {
	case errdefs.IsNotFound(err):
	case err != nil:
		return fmt.Errorf("cannot look for the task of an earlier container: %w", err)
	case t.Status == TaskRunning || t.Status == TaskPaused:
		return fmt.Errorf("the task of an earlier container runs, pid %d: %w", t.Pid, errdefs.ErrAlreadyExists)
	default:
		if err := c.destroy(ctx, id, InitProcess); err != nil {
			return fmt.Errorf("cannot delete the task of an earlier container: %w", err)
		}
	}
	if err := c.daemon.DeleteContainer(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("cannot delete the record of an earlier container: %w", err)
	}
	return nil
}
