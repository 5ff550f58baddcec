package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// hookedImages call a function while the container of a commit is frozen.
type hookedImages struct {
	Images
	frozen func() error
}

func (h *hookedImages) Commit(ctx context.Context, id string, o images.CommitOptions) (digest.Digest, error) {
	freeze := o.Freeze
	o.Freeze = func(ctx context.Context) (func(), error) {
		thaw, err := freeze(ctx)
		if err == nil && h.frozen != nil {
			if err := h.frozen(); err != nil {
				thaw()
				return nil, err
			}
		}
		return thaw, err
	}
	return h.Images.Commit(ctx, id, o)
}

// hook opens the engine again; a commit calls what is in the result.
func (r *rig) hook() *hookedImages {
	h := &hookedImages{}
	r.images = func(ctx context.Context, root string) (Images, error) {
		i, err := images.Open(ctx, root, images.Options{})
		h.Images = i
		return h, err
	}
	r.reopen()
	return h
}

// write writes a file of a container that the fake runtime daemon "runs".
func (r *rig) write(id, name, content string) {
	r.t.Helper()
	mounts, err := r.e.images.Mounts(r.t.Context(), id)
	must(r.t, err)
	at := mounts[0].Source
	for _, o := range mounts[0].Options {
		if upper, ok := strings.CutPrefix(o, "upperdir="); ok {
			at = upper
		}
	}
	must(r.t, os.WriteFile(filepath.Join(at, name), []byte(content), 0o644))
}

func (r *rig) imageIDs() []string {
	r.t.Helper()
	list, err := r.e.ImageList(r.t.Context(), true, false, nil)
	must(r.t, err)
	var ids []string
	for _, i := range list {
		ids = append(ids, i.ID)
	}
	return ids
}

func TestCommit(t *testing.T) {
	r := newRig(t)
	id := r.run("c1", "sleep 1000", func(req *container.CreateRequest) { req.Env = []string{"A=1"} })
	r.write(id, "new", "x")
	image, err := r.e.ContainerCommit(t.Context(), "c1", CommitOptions{
		Reference: "some:1", Author: "me", Comment: "text", Changes: []string{`CMD ["true"]`, "ENV B=2"}, Pause: true,
	})
	must(t, err)
	got, err := r.e.ImageInspect(t.Context(), "some:1")
	must(t, err)
	if got.ID != image || got.Author != "me" || got.Comment != "text" || len(got.RootFS.Layers) != 2 ||
		!slices.Equal(got.Config.Cmd, []string{"true"}) || !slices.Equal(got.Config.Env, []string{"A=1", "B=2"}) {
		t.Errorf("%+v, config %+v", got, got.Config)
	}
	if got := r.actions(id); !slices.Equal(got, []string{"create", "start", "pause", "unpause", "commit"}) {
		t.Errorf("%v", got)
	}
	if got := r.actions(image); !slices.Equal(got, []string{"create", "tag"}) {
		t.Errorf("events of the image: %v", got)
	}
	for _, o := range []CommitOptions{{Reference: "UPPER"}, {Changes: []string{"FROM x"}}} {
		if _, err := r.e.ContainerCommit(t.Context(), "c1", o); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v: %v", o, err)
		}
	}
	must(t, r.e.ContainerPause(t.Context(), id))
	if _, err := r.e.ContainerCommit(t.Context(), "c1", CommitOptions{Pause: true}); err != nil {
		t.Error(err)
	}
	if s := r.task(id).Record().Status; s != record.StatusPaused {
		t.Errorf("a container that a user has paused is %s after a commit", s)
	}
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	r.empty()
}

// TestCommitMeanwhile has something happen to a container while a commit has frozen it.
func TestCommitMeanwhile(t *testing.T) {
	failed := errors.New("the disk is full")
	for name, test := range map[string]struct {
		do      func(r *rig, id string) error
		actions string
		ends    bool
		err     error
	}{
		"nothing":  {func(*rig, string) error { return nil }, "pause unpause commit", false, nil},
		"an error": {func(*rig, string) error { return failed }, "pause unpause", false, failed},
		"stop": {func(r *rig, id string) error { return r.e.ContainerStop(context.Background(), id, StopOptions{}) },
			"pause unpause kill die stop commit", true, nil},
		"kill": {func(r *rig, id string) error { return r.e.ContainerKill(context.Background(), id, "") },
			"pause unpause kill die commit", true, nil},
		"start after the end": {func(r *rig, id string) error {
			if err := r.e.ContainerKill(context.Background(), id, ""); err != nil {
				return err
			}
			go func() { _ = r.e.ContainerStart(context.Background(), id) }()
			return nil
		}, "pause unpause kill die start commit", false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			h := r.hook()
			id := r.run("c1", "sleep 1000")
			before := r.imageIDs()
			h.frozen = func() error { return test.do(r, id) }
			image, err := r.e.ContainerCommit(t.Context(), id, CommitOptions{Pause: true})
			if !errors.Is(err, test.err) || slices.Contains(before, image) {
				t.Fatalf("%q, %v", image, err)
			}
			r.until(id, func(v containers.View) bool {
				return v.Record.Running() != test.ends && v.Record.Status != record.StatusPaused && v.Record.CommitPause == 0
			})
			eventually(t, func() bool { return sorted(r.actions(id)) == sorted(strings.Fields("create start "+test.actions)) })
			if made := len(r.imageIDs()) > len(before); made != (err == nil) {
				t.Errorf("images %v, before %v", r.imageIDs(), before)
			}
			must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
			r.empty()
		})
	}
}

func sorted(list []string) string { return strings.Join(slices.Sorted(slices.Values(list)), " ") }

// The next engine thaws what a commit of a killed one has frozen, from each step of it, and nothing else.
func TestCommitOverEngines(t *testing.T) {
	intent := func(r *record.Record) { r.CommitPause = r.Generation }
	paused := func(r *record.Record) { r.CommitPause, r.Status = r.Generation, record.StatusPaused }
	for name, test := range map[string]struct {
		pause  bool // at the runtime daemon, before the next engine
		record func(r *record.Record)
		then   func(r *rig, id string) error
		status record.Status
	}{
		"before the freeze":     {false, intent, nil, record.StatusRunning},
		"frozen, without event": {true, intent, nil, record.StatusRunning},
		"frozen":                {true, paused, nil, record.StatusRunning},
		"thawed, without event": {false, paused, nil, record.StatusRunning},
		"a freeze that comes later": {false, intent, func(r *rig, id string) error {
			if err := r.daemon.Pause(context.Background(), id); err != nil {
				return err
			}
			r.until(id, func(v containers.View) bool {
				return v.Record.Status == record.StatusPaused || v.Record.CommitPause == 0
			})
			return nil
		}, record.StatusRunning},
		"a user's pause after it": {false, intent, func(r *rig, id string) error {
			return r.e.ContainerPause(context.Background(), id)
		}, record.StatusPaused},
		"a user's pause": {true, func(r *record.Record) { r.Status = record.StatusPaused }, nil, record.StatusPaused},
		"of an earlier run": {true, func(r *record.Record) { r.Status, r.CommitPause = record.StatusPaused, r.Generation-1 }, nil,
			record.StatusPaused},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			id := r.run("c1", "sleep 1000")
			r.close()
			if test.pause {
				must(t, r.daemon.Pause(t.Context(), id))
			}
			r.reopen(edit(id, test.record))
			if test.then != nil {
				must(t, test.then(r, id))
			}
			r.until(id, func(v containers.View) bool { return v.Record.Status == test.status })
			if test.status == record.StatusRunning { // for the daemon, too
				eventually(t, func() bool {
					tasks, err := r.daemon.Tasks(context.Background())
					return err == nil && len(tasks) == 1 && tasks[0].Status == libcontainerd.TaskRunning
				})
			}
			must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
			r.empty()
		})
	}
}

// A container that cannot be thawed after a commit is thawed as soon as the runtime daemon can.
func TestCommitThawsLater(t *testing.T) {
	r := newRig(t)
	id := r.run("c1", "sleep 1000")
	r.daemon.Fail("Resume", 1, libFault(errdefs.ErrUnavailable))
	_, err := r.e.ContainerCommit(t.Context(), id, CommitOptions{Pause: true})
	must(t, err)
	r.until(id, func(v containers.View) bool {
		return v.Record.Status == record.StatusRunning && v.Record.CommitPause == 0
	})
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	r.empty()
}

// A commit goes on where the container cannot be paused, as in dockerd.
func TestCommitWithoutPause(t *testing.T) {
	r := newRig(t)
	id := r.run("c1", "sleep 1000")
	r.daemon.Fail("Pause", 1, libFault(errdefs.ErrUnavailable))
	_, err := r.e.ContainerCommit(t.Context(), id, CommitOptions{Pause: true})
	must(t, err)
	if rec := r.task(id).Record(); rec.Status != record.StatusRunning || rec.CommitPause != 0 {
		t.Errorf("%s, %d", rec.Status, rec.CommitPause)
	}
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	r.empty()
}

func TestDiffAndExport(t *testing.T) {
	r := newRig(t)
	id := r.create("c1", "sleep 1000")
	if list, err := r.e.ContainerChanges(t.Context(), "c1"); list != nil || err != nil {
		t.Errorf("%v, %v", list, err)
	}
	r.write(id, "new", "x")
	list, err := r.e.ContainerChanges(t.Context(), "c1")
	if err != nil || len(list) != 1 || list[0].Path != "/new" {
		t.Errorf("%v, %v", list, err)
	}
	var out strings.Builder
	must(t, r.e.ContainerExport(t.Context(), "c1", &out))
	if !strings.Contains(out.String(), "new") || !slices.Contains(r.actions(id), "export") {
		t.Errorf("%d bytes, events %v", out.Len(), r.actions(id))
	}
	for _, err := range []error{
		errOf(r.e.ContainerChanges(t.Context(), "nobody")), r.e.ContainerExport(t.Context(), "nobody", &out),
		errOf(r.e.ContainerCommit(t.Context(), "nobody", CommitOptions{})),
	} {
		if !errdefs.IsNotFound(err) {
			t.Errorf("%v", err)
		}
	}
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.empty()
}

func errOf[T any](_ T, err error) error { return err }
