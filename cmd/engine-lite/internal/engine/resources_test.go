package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources/resourcestest"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// newPortsRig has a network in memory, which gives ports to containers.
func newPortsRig(t *testing.T, copies bool) (*rig, *resourcestest.Network) {
	r := newRig(t)
	n := &resourcestest.Network{Kernel: resourcestest.NewKernel()}
	r.close()
	r.further, r.copies = []resources.Provider{n}, copies
	r.open()
	return r, n
}

func withPorts(ports string) func(*container.CreateRequest) {
	return func(req *container.CreateRequest) { req.Labels = map[string]string{"ports": ports} }
}

// holders checks which runs have ports.
func holders(t *testing.T, n *resourcestest.Network, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(n.Kernel.Holders())); !slices.Equal(got, want) {
		t.Errorf("%q have ports, not %q", got, want)
	}
}

// TestFreeBeforeTheExitIsTold has containers take the same port one after the other: each starts as soon as the exit of
// the one before is told. A daemon that copies output commits its die late.
func TestFreeBeforeTheExitIsTold(t *testing.T) {
	for _, copies := range []bool{false, true} {
		r, n := newPortsRig(t, copies)
		dies := r.dies()
		first := r.create("first", "cat; exit 3", withStdin, withPorts("80"))
		n.BeforeFree = func(h resources.Holder) {
			if h.Container != first {
				return
			}
			time.Sleep(20 * time.Millisecond) // who goes on too early finds the port taken
			if len(dies) > 1 {
				t.Error("the die was told before")
			}
		}
		must(t, r.e.ContainerStart(t.Context(), first))
		second := r.create("second", "cat", withStdin, withPorts("80,81"))
		if err := r.e.ContainerStart(t.Context(), second); !errdefs.IsConflict(err) {
			t.Errorf("the port is taken: %v", err)
		}
		holders(t, n, first+".1")
		ended := r.wait(first, container.WaitConditionNotRunning)
		must(t, r.daemon.CloseIO(t.Context(), first, libcontainerd.InitProcess))
		if got := <-ended; got.StatusCode != 3 {
			t.Errorf("wait: %+v", got)
		}
		must(t, r.e.ContainerStart(t.Context(), second))
		holders(t, n, second+".2") // the first start failed
		if id := receive(t, dies); id != second {
			t.Errorf("%s died, and not the start that failed", id)
		}
		if id := receive(t, dies); id != first {
			t.Errorf("%s died, not the first", id)
		}
		must(t, r.e.ContainerKill(t.Context(), second, ""))
		must(t, r.e.ContainerRemove(t.Context(), second, RemoveOptions{Force: true}))
		holders(t, n)
		must(t, r.e.ContainerRemove(t.Context(), first, RemoveOptions{}))
		r.empty()
	}
}

// TestResourceEvents: the events of a provider come with those of the start and of the exit.
func TestResourceEvents(t *testing.T) {
	r, _ := newPortsRig(t, false)
	if _, err := r.e.ContainerCreate(t.Context(), "", createRequest("exit 0", withPorts("http")), CreateOptions{}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a wrong port: %v", err)
	}
	id := r.run("", "exit 0", withPorts("80"))
	r.ended(id)
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	var actions []string
	for c := r.e.store.Cursor(0); ; {
		ev, ok, err := c.Poll()
		must(t, err)
		if !ok {
			break
		}
		if ev.ID == id || ev.Attributes["container"] == id {
			actions = append(actions, ev.Action)
		}
	}
	if got := strings.Join(actions, " "); got != "create start connect die disconnect destroy" {
		t.Errorf("events: %s", got)
	}
	r.empty()
}

// TestFailedStartFrees has starts fail at several steps.
func TestFailedStartFrees(t *testing.T) {
	r, n := newPortsRig(t, false)
	id := r.create("", "sleep 1000", withPorts("80"))
	for i, op := range []string{"CreateContainer", "CreateTask", "Start"} {
		r.daemon.Fail(op, r.daemon.Calls(op)+1, libFault(errdefs.ErrInternal))
		if err := r.e.ContainerStart(t.Context(), id); err == nil {
			t.Fatalf("%s: the start did not fail", op)
		}
		holders(t, n)
		if got := r.task(id).Record().Generation; got != uint64(i+1) {
			t.Errorf("%s: generation %d", op, got)
		}
	}
	must(t, r.e.ContainerStart(t.Context(), id))
	holders(t, n, id+".4")
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	holders(t, n)
	r.empty()
}

// TestFailedStartFreesLater has the provider fail once when a failed start gives back: another container gets the port all
// the same.
func TestFailedStartFreesLater(t *testing.T) {
	r := newRig(t)
	n := &stuckOnce{Network: resourcestest.Network{Kernel: resourcestest.NewKernel()}}
	r.close()
	r.further = []resources.Provider{n}
	r.open()
	first, second := r.create("", "sleep 1000", withPorts("80")), r.create("", "sleep 1000", withPorts("80"))
	r.daemon.Fail("Start", 1, libFault(errdefs.ErrInternal))
	if err := r.e.ContainerStart(t.Context(), first); err == nil || strings.Contains(err.Error(), "stuck") {
		t.Errorf("the start fails with its own reason: %v", err)
	}
	eventually(t, func() bool { return len(n.Kernel.Holders()) == 0 })
	must(t, r.e.ContainerStart(t.Context(), second))
	for _, id := range []string{first, second} {
		must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	}
	r.empty()
}

// stuckOnce is a network whose first Free fails.
type stuckOnce struct {
	resourcestest.Network
	tried atomic.Bool
}

func (s *stuckOnce) Free(ctx context.Context, h resources.Holder) error {
	if s.tried.CompareAndSwap(false, true) {
		return errors.New("stuck")
	}
	return s.Network.Free(ctx, h)
}

// volumes lists the names of the volumes.
func (r *rig) volumes() (names []string) {
	r.t.Helper()
	list, _, err := r.e.VolumeList(r.t.Context(), nil)
	must(r.t, err)
	for _, v := range list {
		names = append(names, v.Name)
	}
	return names
}

func withVolumes(req *container.CreateRequest) {
	req.Volumes, req.HostConfig.Binds = map[string]struct{}{"/anonymous": {}}, []string{"named:/named"}
}

// TestAnonymousVolumesGo has engines die in a creation, and in removals with and without the container's anonymous
// volumes: the next engine does the rest, and no more.
func TestAnonymousVolumesGo(t *testing.T) {
	r := newRig(t)
	var ids []string
	for range 3 {
		ids = append(ids, r.create("", "exit 0", withVolumes))
	}
	if got := r.volumes(); len(got) != 4 {
		t.Fatalf("volumes: %q", got)
	}
	removing := func(id string, volumes bool, version uint64) func(tx *store.Tx) error {
		return edit(id, func(rec *record.Record) {
			rec.Status, rec.RemoveVolumes, rec.Version = record.StatusRemoving, volumes, version
		})
	}
	r.reopen(removing(ids[0], true, 0), removing(ids[1], true, 5), removing(ids[2], false, 5)) // the first one was being created
	eventually(t, func() bool { return len(r.e.all()) == 0 })
	kept := r.volumes()
	if len(kept) != 2 || !slices.Contains(kept, "named") {
		t.Errorf("volumes: %q", kept)
	}
	r.reopen()
	if got := r.volumes(); !slices.Equal(got, kept) {
		t.Errorf("volumes: %q, not %q", got, kept)
	}
	id := r.run("", "exit 0", withVolumes, autoRemove)
	eventually(t, func() bool { _, err := r.e.find(id); return err != nil })
	must(t, r.e.ContainerRemove(t.Context(), r.create("", "exit 0", withVolumes), RemoveOptions{Volumes: true}))
	if got := r.volumes(); !slices.Equal(got, kept) {
		t.Errorf("after --rm and rm -v: %q, not %q", got, kept)
	}
	for _, name := range kept {
		must(t, r.e.VolumeRemove(t.Context(), name, false))
	}
	r.empty()
}

// TestRestoreKeepsWhatRunsHave ends the engine. The next one leaves the ports of what runs, and frees all others: of a run
// that has ended meanwhile, of a start that nobody saw through, and of a container that is gone.
func TestRestoreKeepsWhatRunsHave(t *testing.T) {
	r, n := newPortsRig(t, false)
	runs, ends := r.run("", "sleep 1000", withPorts("80")), r.run("", "cat; exit 7", withStdin, withPorts("81"))
	idle := r.create("", "sleep 1000", withPorts("82"))
	for _, h := range []resources.Holder{resources.Run(idle, 1), resources.Run("gone", 3), {Container: idle, Lease: "cp"}} {
		rec := *r.task(idle).Record()
		_, err := n.Acquire(t.Context(), &rec, resources.Run(h.Container, max(1, h.Generation)))
		if err != nil && !errdefs.IsConflict(err) {
			t.Fatal(err)
		}
	}
	holders(t, n, runs+".1", ends+".1", idle+".1")
	r.close()
	must(t, r.daemon.CloseIO(t.Context(), ends, libcontainerd.InitProcess))
	_, err := r.daemon.Wait(t.Context(), ends, libcontainerd.InitProcess)
	must(t, err)
	r.open()
	r.ended(ends)
	holders(t, n, runs+".1")
	must(t, r.e.ContainerStart(t.Context(), idle))
	holders(t, n, runs+".1", idle+".1")
	for _, id := range []string{runs, ends, idle} {
		must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	}
	holders(t, n)
	r.empty()
}

// TestUnreadableKeepsItsResources: nobody knows the run of a container whose record cannot be read.
func TestUnreadableKeepsItsResources(t *testing.T) {
	r, n := newPortsRig(t, false)
	id := r.run("", "sleep 1000", withPorts("80"))
	r.spoil(func(raw string) string { return strings.Replace(raw, `"Generation":1`, `"Generation":"x"`, 1) }, id)
	if r.task(id).Record().Unreadable() == nil {
		t.Fatal("the record can be read")
	}
	holders(t, n, id+".1")
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
}
