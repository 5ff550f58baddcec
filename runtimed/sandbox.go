package runtimed

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Annotations of a spec that make a container a sandbox or put it into one, as Kubernetes' container runtimes write them. On a sandbox the id is its own, or absent.
const (
	annotationType    = "io.kubernetes.cri.container-type"
	annotationSandbox = "io.kubernetes.cri.sandbox-id"
	typeSandbox       = "sandbox"
	typeMember        = "container"
)

// sandboxRef names one run of a sandbox: another of the same id has another init process.
type sandboxRef struct {
	ID    string `json:"id"`
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"`
}

// roleOf reads a spec's annotations: whether the container is a sandbox, and else the id of the one it is in, if any. InvalidArgument for what
// doesn't go together.
func roleOf(id string, spec *specs.Spec) (isSandbox bool, sandbox string, err error) {
	kind, typed := spec.Annotations[annotationType]
	sandbox = spec.Annotations[annotationSandbox]
	var wrong string
	switch {
	case !typed && sandbox == "":
		return false, "", nil
	case !typed:
		wrong = fmt.Sprintf("is in sandbox %.80q and has no annotation %s", sandbox, annotationType)
	case kind == typeSandbox && (sandbox == "" || sandbox == id):
		return true, "", nil
	case kind == typeSandbox:
		wrong = fmt.Sprintf("is a sandbox and says that it is in %.80q", sandbox)
	case kind != typeMember:
		wrong = fmt.Sprintf("is of the unknown type %.80q, not %q or %q", kind, typeSandbox, typeMember)
	case sandbox == "":
		wrong = "is in a sandbox and has no annotation " + annotationSandbox
	case sandbox == id:
		wrong = "says that it is in itself"
	default:
		return false, sandbox, validID("sandbox", sandbox)
	}
	return false, "", fmt.Errorf("container %q %s: %w", id, wrong, errdefs.ErrInvalidArgument)
}

// joinSandbox makes a container's spec share the namespaces of the sandbox that its annotations name; the plan then has the sandbox, and open
// descriptors of its namespaces, which the spec refers to: no other process can get in between, whoever has the sandbox's pid by then.
func (d *Daemon) joinSandbox(t *containerTask, p *plan, spec *specs.Spec) error {
	isSandbox, id, err := roleOf(t.c.id, spec)
	t.record.IsSandbox = isSandbox
	if err != nil || id == "" {
		return err
	}
	sandbox, err := d.findSandbox(t.c.ns, id)
	if err != nil {
		return fmt.Errorf("cannot create container %q in its sandbox: %w", t.c.id, err)
	}
	ref, ok := sandbox.ref()
	if !ok {
		return sandbox.notRunning()
	}
	own, err := sandbox.spec()
	if err == nil {
		err = checkHostname(spec, own, id)
	}
	if err == nil {
		err = shareUsers(spec, own, id)
	}
	if err != nil {
		return err
	}
	if p.pins, err = share(spec, ref); err != nil {
		return fmt.Errorf("cannot share the namespaces of sandbox %q: %w", id, err)
	}
	p.sandbox, t.record.Sandbox = sandbox, &ref
	return nil
}

// findSandbox finds a sandbox's task. NotFound without a container of this id; FailedPrecondition if it is no sandbox or has no task.
func (d *Daemon) findSandbox(ns, id string) (*containerTask, error) {
	c, err := d.find(ns, id)
	if err != nil {
		return nil, err
	}
	t := c.get()
	switch {
	case t == nil:
		return nil, fmt.Errorf("sandbox %q has no task: %w", id, errdefs.ErrFailedPrecondition)
	case !t.record.IsSandbox:
		return nil, fmt.Errorf("container %q is not a sandbox: %w", id, errdefs.ErrFailedPrecondition)
	}
	return t, nil
}

// ref names this run of a sandbox; false if it has ended.
func (t *containerTask) ref() (sandboxRef, bool) {
	pid, start, ok := t.init.identity()
	return sandboxRef{ID: t.c.id, Pid: pid, Start: start}, ok
}

func (t *containerTask) notRunning() error {
	return fmt.Errorf("sandbox %q is not running: %w", t.c.id, errdefs.ErrFailedPrecondition)
}

// spec is what the task's container was recorded with.
func (t *containerTask) spec() (*specs.Spec, error) {
	var own specs.Spec
	record, err := t.c.read()
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(record.Spec.GetValue(), &own); err != nil {
		return nil, fmt.Errorf("cannot read the spec of sandbox %q: %v: %w", t.c.id, err, errdefs.ErrFailedPrecondition)
	}
	return &own, nil
}

// checkHostname refuses a container that would rename its sandbox: host and domain name belong to the UTS namespace.
func checkHostname(spec, own *specs.Spec, sandbox string) error {
	if i := namespaceIn(spec, specs.UTSNamespace); i >= 0 && spec.Linux.Namespaces[i].Path != "" {
		return nil // its own
	}
	for _, name := range []struct{ wanted, had string }{{spec.Hostname, own.Hostname}, {spec.Domainname, own.Domainname}} {
		if name.wanted != "" && name.wanted != name.had {
			return fmt.Errorf("a container of sandbox %q can't have the name %.80q, it shares the sandbox's, %q: %w", sandbox, name.wanted, name.had, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// shareUsers holds CRI's rule for user namespaces: a sandbox has one for all that is in it, or none. The sandbox's other namespaces belong to it, so that nobody from another
// one could join them. A container without one gets the sandbox's, with its mappings; one that brings its own, or other mappings, is refused.
func shareUsers(spec, own *specs.Spec, sandbox string) error {
	mine, theirs := namespaceIn(spec, specs.UserNamespace), namespaceIn(own, specs.UserNamespace)
	if theirs < 0 {
		if mine >= 0 {
			return fmt.Errorf("a container of sandbox %q can't have a user namespace, the sandbox has none: %w", sandbox, errdefs.ErrInvalidArgument)
		}
		return nil
	}
	if spec.Linux == nil {
		spec.Linux = &specs.Linux{}
	}
	linux := spec.Linux
	switch {
	case mine < 0:
		linux.Namespaces = append(slices.Clone(linux.Namespaces), specs.LinuxNamespace{Type: specs.UserNamespace})
	case linux.Namespaces[mine].Path != "":
		return fmt.Errorf("a container of sandbox %q can't have another user namespace than the sandbox's: %w", sandbox, errdefs.ErrInvalidArgument)
	}
	for _, m := range []struct{ wanted, had []specs.LinuxIDMapping }{
		{linux.UIDMappings, own.Linux.UIDMappings}, {linux.GIDMappings, own.Linux.GIDMappings},
	} {
		if len(m.wanted) > 0 && !slices.Equal(m.wanted, m.had) {
			return fmt.Errorf("a container of sandbox %q can't have other ids than the sandbox, whose user namespace it shares: %w", sandbox, errdefs.ErrInvalidArgument)
		}
	}
	linux.UIDMappings, linux.GIDMappings = own.Linux.UIDMappings, own.Linux.GIDMappings
	return nil
}

// pins are open namespaces. An open one stays what it is, and doesn't go away.
type pins []*os.File

func (p pins) close() {
	for _, f := range p {
		f.Close()
	}
}

// share changes a spec's namespaces to those of a sandbox: network, IPC and UTS where it gives no path for them, PID where the spec has no PID namespace at all (to leave
// that out is to ask for the one around the container), and the user namespace where shareUsers has left one. The caller closes the pins once the OCI runtime has used them.
func share(spec *specs.Spec, ref sandboxRef) (_ pins, err error) {
	var open pins
	defer func() {
		if err != nil {
			open.close()
		}
	}()
	if spec.Linux == nil {
		spec.Linux = &specs.Linux{}
	}
	list := slices.Clone(spec.Linux.Namespaces)
	for _, n := range []struct {
		kind specs.LinuxNamespaceType
		file string
	}{{specs.UserNamespace, "user"}, {specs.NetworkNamespace, "net"}, {specs.IPCNamespace, "ipc"}, {specs.UTSNamespace, "uts"}, {specs.PIDNamespace, "pid"}} {
		i := namespaceIn(spec, n.kind)
		if i < 0 && n.kind == specs.UserNamespace {
			continue
		}
		if i >= 0 && (n.kind == specs.PIDNamespace || list[i].Path != "") {
			continue
		}
		f, err := os.Open(filepath.Join("/proc", strconv.Itoa(ref.Pid), "ns", n.file))
		if err != nil {
			return nil, fmt.Errorf("%v: %w", err, errdefs.ErrFailedPrecondition) // it is ending
		}
		open = append(open, f)
		path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
		if i < 0 {
			list = append(list, specs.LinuxNamespace{Type: n.kind, Path: path})
		} else {
			list[i].Path = path
		}
	}
	if !alive(ref.Pid, ref.Start) { // looked at after all were opened: they were those of this process
		return nil, fmt.Errorf("the sandbox has ended: %w", errdefs.ErrFailedPrecondition)
	}
	spec.Linux.Namespaces = list
	return open, nil
}

// namespaceIn finds a kind of namespace in a spec; -1 if it isn't there.
func namespaceIn(spec *specs.Spec, kind specs.LinuxNamespaceType) int {
	if spec.Linux == nil {
		return -1
	}
	return slices.IndexFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
}

// enter makes a new task its container's, unless its sandbox has ended meanwhile. Whoever ends a sandbox looks for its containers after that, and so finds this one.
func (t *containerTask) enter() error {
	if s := t.plan.sandbox; s != nil {
		s.init.mu.Lock()
		defer s.init.mu.Unlock()
		if s.init.status == stopped {
			return s.notRunning()
		}
	}
	t.c.setTask(t)
	return nil
}

// members are the tasks in this run of a sandbox.
func (d *Daemon) members(sandbox *containerTask) []*containerTask {
	sandbox.init.mu.Lock()
	ref := sandboxRef{ID: sandbox.c.id, Pid: sandbox.init.pid, Start: sandbox.init.start}
	sandbox.init.mu.Unlock()
	var list []*containerTask
	for _, c := range d.list(sandbox.c.ns) {
		if t := c.get(); t != nil && t.record.Sandbox != nil && *t.record.Sandbox == ref {
			list = append(list, t)
		}
	}
	return list
}

// endMembers kills what is in a sandbox that has ended. It waits for nothing.
func (d *Daemon) endMembers(sandbox *containerTask) {
	if !sandbox.record.IsSandbox {
		return
	}
	for _, t := range d.members(sandbox) {
		d.endMember(t)
	}
}

// awaitMembers waits until all that was in an ended sandbox has ended too, and their exits are told.
func (d *Daemon) awaitMembers(ctx context.Context, sandbox *containerTask) error {
	if !sandbox.record.IsSandbox {
		return nil
	}
	d.endMembers(sandbox)
	for _, t := range d.members(sandbox) {
		if err := awaitEnd(ctx, t.init); err != nil {
			return fmt.Errorf("%s of sandbox %q doesn't end: %w", t.init, sandbox.c.id, err)
		}
	}
	return nil
}

// endMember kills a container whose sandbox is gone. One that is paused dies when it is thawed, for which an operation that is under way is waited for.
func (d *Daemon) endMember(t *containerTask) {
	pid, start, ok := t.init.identity()
	if !ok {
		return
	}
	log := d.log.WithField("container", t.c.id)
	if err := signalProcess(pid, start, killSignal); err != nil && !errdefs.IsNotFound(err) {
		log.WithError(err).Error("cannot kill a container whose sandbox has ended")
	}
	d.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), runtimeTimeout)
		defer cancel()
		if err := d.change(ctx, t.c, func(ctx context.Context) error { return d.thaw(ctx, t) }); err != nil {
			log.WithError(err).Error("cannot thaw a container whose sandbox has ended")
		}
	})
}

// thaw resumes a task that was killed while it was paused: a frozen process doesn't even die.
func (d *Daemon) thaw(ctx context.Context, t *containerTask) error {
	groups := t.controlGroups()
	if t.init.hasEnded() || !groups.isFreezing() {
		return nil
	}
	if err := t.record.Runtime.resume(ctx, t.c.id, t.init.dir); err != nil && !t.init.hasEnded() {
		return err
	}
	t.setPaused(false)
	d.publish(t.c.ns, runtime.TaskResumedEventTopic, &events.TaskResumed{ContainerID: t.c.id})
	return nil
}

// endStrays kills the containers whose sandbox ended while no runtimed was there to see it.
func (d *Daemon) endStrays() {
	for _, c := range d.all() {
		t := c.get()
		if t == nil || t.record.Sandbox == nil {
			continue
		}
		if sandbox, err := d.findSandbox(c.ns, t.record.Sandbox.ID); err == nil {
			if ref, runs := sandbox.ref(); runs && ref == *t.record.Sandbox {
				continue
			}
		}
		d.endMember(t)
	}
}
