package simulation

import (
	"context"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/exec"
)

// user creates containers and uses them, with one request after the other, until it has
// seen its share of lifecycles. Each request may fail. If a request was answered as done,
// it must have been done.
type user struct {
	w          *world
	name       string
	lifecycles int
	ended      int

	created       int // number of containers so far
	id            string
	containerName string
	kind          kind
	stdin         *stdinClient
	// memory is the limit of the last update; 0 if there was none, or its answer was lost.
	memory int64
	// restartingSince is when the container was first seen to wait for its restart after the run with this generation.
	restartingSince      time.Time
	restartingGeneration uint64
}

// kind is how a container behaves.
type kind struct {
	script            string
	stdin, autoRemove bool
	restarts          int
	endless           bool
	runs              int // how many runs before it is removed
	// unattended is true if its user leaves the container alone once it runs.
	unattended bool
}

// maxRequests is how many requests a user makes for one container before it reports that
// it makes no progress.
const maxRequests = 2000

func (u *user) run() {
	for u.ended < u.lifecycles {
		u.created++
		u.containerName, u.id, u.stdin, u.memory = fmt.Sprintf("%s-%d", u.name, u.created), "", nil, 0
		u.restartingSince = time.Time{}
		u.kind = newKind(u.dice("kind"))
		for turn := 0; u.turn(); turn++ {
			if turn > maxRequests {
				u.w.violation("%s makes no progress with %s: %+v", u.name, short(u.id), u.w.model.history(u.id))
				return
			}
			time.Sleep(u.dice("pause").between(time.Millisecond, 700*time.Millisecond))
		}
		u.ended += u.w.model.history(u.id).deaths
	}
}

func (u *user) dice(what string) *dice { return u.w.dice(u.name + " " + what) }

func newKind(d *dice) kind {
	code := 1 + d.below(120)
	seconds := d.between(time.Millisecond, 8*time.Second).Seconds()
	k := kind{runs: 1 + d.below(12), autoRemove: d.chance(6)}
	switch d.below(12) {
	case 0, 1, 8, 9, 10:
		k.script = fmt.Sprintf("exit %d", code)
	case 2, 3:
		k.script = fmt.Sprintf("echo a; sleep %f; exit %d", seconds, code)
	case 4, 11:
		k.script, k.stdin = fmt.Sprintf("cat; exit %d", code), true
	case 5:
		k.script, k.endless = fmt.Sprintf("trap \"exit %d\" TERM; sleep 1000000", code), true
	case 6:
		k.script, k.endless = "trap \"\" TERM; sleep 1000000", true
	case 7:
		k.script, k.endless = "echo b; sleep 1000000", true
	}
	if !k.autoRemove && !k.stdin && d.chance(6) {
		k.restarts = 1 + d.below(3)
	}
	k.unattended = (k.endless || k.stdin) && k.restarts == 0 && d.chance(6)
	return k
}

// turn makes one request. It is false when the container is removed or left unattended.
func (u *user) turn() bool {
	inc := u.w.running(u.w.t.Context(), u.name)
	if u.id == "" {
		u.create(inc)
		return true
	}
	h := u.w.model.history(u.id)
	if h.removed {
		return false
	}
	answer, err := inc.engine.ContainerInspect(inc.ctx, u.id, false) // inspect never waits
	if err != nil {
		if h = u.w.model.history(u.id); !h.removed && !inc.isEnding() {
			u.w.violation("inspect of %s, which is %s: %v", short(u.id), h.status, err)
		}
		return true
	}
	if got := answer.HostConfig.Memory; u.memory != 0 && got != u.memory {
		u.w.violation("%s has the memory limit %d, the answered update was %d", short(u.id), got, u.memory)
	}
	switch answer.State.Status {
	case "created", "exited":
		u.notRunning(inc, h)
	case "running":
		if u.kind.unattended {
			u.w.leaveUnattended(u)
			return false
		}
		u.running(inc, h)
	case "paused":
		u.stdinClosed(inc, h)
		u.paused(inc)
	case "restarting":
		u.restarting(inc, h)
	default:
		u.remove(inc, true)
	}
	return true
}

// call makes a request and traces its result.
func call[T any](u *user, inc *engineInstance, what string,
	fn func(ctx context.Context, e *engine.Engine) (T, error)) (T, error) {
	u.w.note("user", u.name+" asks for "+what, short(u.id))
	answer, err := do(inc, fn)
	u.w.note("user", u.name+" has "+what, fmt.Sprint(err))
	return answer, err
}

// call makes a request that has no answer but an error.
func (u *user) call(inc *engineInstance, what string,
	fn func(ctx context.Context, e *engine.Engine, id string) error) error {
	id := u.id
	_, err := call(u, inc, what,
		func(ctx context.Context, e *engine.Engine) (struct{}, error) { return struct{}{}, fn(ctx, e, id) })
	return err
}

func (u *user) create(inc *engineInstance) {
	req := container.CreateRequest{
		Config: &container.Config{Image: "box", Cmd: []string{"sh", "-c", u.kind.script}, OpenStdin: u.kind.stdin,
			StdinOnce: u.kind.stdin, Labels: map[string]string{"ports": fmt.Sprint(crc32.ChecksumIEEE([]byte(u.containerName)))}},
		HostConfig: &container.HostConfig{NetworkMode: "none", AutoRemove: u.kind.autoRemove, Mounts: u.mounts()},
	}
	if n := u.kind.restarts; n > 0 {
		req.HostConfig.RestartPolicy = container.RestartPolicy{Name: "on-failure", MaximumRetryCount: n}
	}
	name := u.containerName
	id, err := call(u, inc, "create", func(ctx context.Context, e *engine.Engine) (string, error) {
		if known, err := e.ContainerInspect(ctx, name, false); err == nil { // it was created, and the answer was lost
			return known.ID, nil
		}
		answer, err := e.ContainerCreate(ctx, name, req, engine.CreateOptions{})
		return answer.ID, err
	})
	if err == nil {
		u.id = id
	}
	if errdefs.IsConflict(err) { // a failed create keeps the name until the next engine removes it
		u.created++
		u.containerName = fmt.Sprintf("%s-%d", u.name, u.created)
	}
	if err == nil && u.w.model.history(u.id).status == "" {
		u.w.violation("%s was created, but the journal has no event of it", short(u.id))
	}
}

func (u *user) notRunning(inc *engineInstance, h history) {
	d := u.dice("at rest")
	if h.deaths >= u.kind.runs || d.chance(12) {
		u.remove(inc, d.chance(3))
		return
	}
	if u.kind.stdin && !d.chance(10) {
		u.attach(inc, d)
	}
	u.start(inc)
}

func (u *user) start(inc *engineInstance) {
	before := u.w.model.history(u.id)
	err := u.call(inc, "start",
		func(ctx context.Context, e *engine.Engine, id string) error { return e.ContainerStart(ctx, id) })
	if after := u.w.model.history(u.id); err == nil && after.starts == before.starts {
		u.w.violation("%s was started, but the journal has no event of it: %+v", short(u.id), after)
	}
}

func (u *user) running(inc *engineInstance, h history) {
	d := u.dice("running")
	n := d.below(24)
	if u.stdinClosed(inc, h) && n >= 5 {
		n = 23
	}
	switch {
	case n < 3:
		u.exec(inc, d)
	case n < 5:
		u.ask(inc, "pause", func(ctx context.Context, e *engine.Engine, id string) error {
			return e.ContainerPause(ctx, id)
		})
	case n < 7:
		u.stop(inc, d, h)
	case n == 7:
		u.kill(inc, "SIGKILL")
	case n == 8:
		u.kill(inc, []string{"SIGUSR1", "SIGTERM", "SIGHUP"}[d.below(3)])
	case n == 9:
		timeout := d.below(4)
		u.ask(inc, "restart", func(ctx context.Context, e *engine.Engine, id string) error {
			return e.ContainerRestart(ctx, id, engine.StopOptions{Timeout: &timeout})
		})
	case n == 10:
		u.remove(inc, true)
	case n == 11:
		u.remove(inc, false)
	case n == 12:
		u.update(inc, d)
	case u.kind.endless && n < 16:
		u.stop(inc, d, h)
	default:
		u.wait(inc, d, h)
	}
}

func (u *user) ask(inc *engineInstance, what string, fn func(ctx context.Context, e *engine.Engine, id string) error) {
	_ = u.call(inc, what, fn) // it may fail: the next turn inspects the container
}

func (u *user) paused(inc *engineInstance) {
	d := u.dice("paused")
	switch d.below(6) {
	case 0:
		u.kill(inc, "SIGKILL")
	case 1:
		u.stop(inc, d, u.w.model.history(u.id))
	case 2:
		u.remove(inc, true)
	default:
		u.ask(inc, "unpause", func(ctx context.Context, e *engine.Engine, id string) error {
			return e.ContainerUnpause(ctx, id)
		})
	}
}

// restartLimit is how long a restart by the policy may take. Before it, the last run's task has to be deleted, and the
// daemon may hang in several requests for minutes each.
const restartLimit = 10 * time.Minute

func (u *user) restarting(inc *engineInstance, h history) {
	if u.kind.restarts == 3 { // such a user waits
		if u.restartingSince.IsZero() || u.restartingGeneration != h.generation {
			u.restartingSince, u.restartingGeneration = time.Now(), h.generation
		}
		if time.Since(u.restartingSince) > restartLimit {
			u.w.violation("%s waits for its restart since %v: %+v", short(u.id), time.Since(u.restartingSince), h)
			u.remove(inc, true)
		}
		return
	}
	d := u.dice("restarting")
	switch d.below(8) {
	case 0:
		u.stop(inc, d, u.w.model.history(u.id))
	case 1:
		u.remove(inc, true)
	case 2:
		u.start(inc)
	}
}

func (u *user) stop(inc *engineInstance, d *dice, before history) {
	timeout := d.below(12)
	err := u.call(inc, "stop", func(ctx context.Context, e *engine.Engine, id string) error {
		return e.ContainerStop(ctx, id, engine.StopOptions{Timeout: &timeout})
	})
	after := u.w.model.history(u.id)
	if err == nil && after.deaths == before.deaths && before.alive() && after.generation == before.generation {
		u.w.violation("%s was stopped, but the journal has no event of its exit: %+v", short(u.id), after)
	}
}

// update changes the memory limit. What was answered holds from then on, whichever engine is asked.
func (u *user) update(inc *engineInstance, d *dice) {
	u.memory = 0 // until the answer is there
	memory := int64(8+d.below(100)) << 20
	err := u.call(inc, "update", func(ctx context.Context, e *engine.Engine, id string) error {
		_, err := e.ContainerUpdate(ctx, id, container.UpdateConfig{Resources: container.Resources{Memory: memory, MemorySwap: -1}})
		return err
	})
	if err == nil {
		u.memory = memory
	}
}

func (u *user) kill(inc *engineInstance, signal string) {
	u.ask(inc, "kill "+signal,
		func(ctx context.Context, e *engine.Engine, id string) error { return e.ContainerKill(ctx, id, signal) })
}

func (u *user) remove(inc *engineInstance, force bool) {
	err := u.call(inc, "remove", func(ctx context.Context, e *engine.Engine, id string) error {
		return e.ContainerRemove(ctx, id, engine.RemoveOptions{Force: force, Volumes: true})
	})
	if h := u.w.model.history(u.id); err == nil && !h.removed {
		u.w.violation("%s was removed, but the journal has no event of it: %+v", short(u.id), h)
	}
}

// wait waits for the exit, for a limited time, and compares the exit code with that of the
// event.
func (u *user) wait(inc *engineInstance, d *dice, before history) {
	limit := d.between(time.Second, 20*time.Second)
	id := u.id
	code, err := call(u, inc, "wait", func(ctx context.Context, e *engine.Engine) (int64, error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		answer, err := e.ContainerWait(ctx, id, container.WaitConditionNextExit)
		if err != nil {
			return -1, err
		}
		if result, ok := <-answer; ok {
			return result.StatusCode, nil
		}
		return -1, nil
	})
	h := u.w.model.history(u.id)
	if err != nil || code < 0 || u.kind.restarts > 0 || h.starts != before.starts || !before.alive() {
		return
	}
	if h.deaths == before.deaths || int64(h.code) != code {
		u.w.violation("a wait for %s got %d: %+v", short(u.id), code, h)
	}
}

func (u *user) exec(inc *engineInstance, d *dice) {
	script := []string{"exit 7", fmt.Sprintf("sleep %f; exit 9", d.between(time.Millisecond, 5*time.Second).Seconds()),
		"sleep 1000000", "echo x; exit 0"}[d.below(4)]
	id := u.id
	execID, err := call(u, inc, "exec", func(ctx context.Context, e *engine.Engine) (string, error) {
		execID, err := e.ExecCreate(ctx, id,
			container.ExecCreateRequest{Cmd: []string{"sh", "-c", script}, AttachStdout: true})
		if err != nil {
			return "", err
		}
		return execID, e.ExecStart(ctx, execID, exec.StartOptions{Detach: true})
	})
	if isCrash(err) {
		return
	}
	if _, ok := u.w.model.exec(execID); err == nil && !ok {
		u.w.violation("exec %s was started, but the journal has no event of it", short(execID))
	}
	if err == nil && d.chance(2) {
		time.Sleep(d.between(time.Second, 7*time.Second))
		u.inspectExec(inc, execID)
	}
}

// inspectExec compares an exec's exit code with that of its event.
func (u *user) inspectExec(inc *engineInstance, execID string) {
	answer, err := inc.engine.ExecInspect(inc.ctx, execID) // inspect never waits
	if err != nil || answer.ExitCode == nil {
		return
	}
	if x, _ := u.w.model.exec(execID); !x.ended || x.code != *answer.ExitCode {
		u.w.violation("exec %s has the exit code %d, by its event %+v", short(execID), *answer.ExitCode, x)
	}
}
