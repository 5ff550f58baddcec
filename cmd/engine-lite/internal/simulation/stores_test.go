package simulation

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
)

// journalTap is an engine's journal. Writes take some time and may fail, and the engine
// may be killed before or after a write.
type journalTap struct {
	*journal.Journal
	inc *engineInstance
}

func (i *engineInstance) openJournal(path string) (store.Journal, error) {
	j, err := journal.Open(path, journal.Options{Format: store.Format, NoSync: true})
	if err != nil {
		return nil, err
	}
	i.journal = j
	i.w.model.read(j) // the last engine may have been killed between a write and its acknowledgement
	return &journalTap{j, i}, nil
}

// Commit commits, unless the engine is killed before. An engine that is killed afterwards
// gets no answer.
func (j *journalTap) Commit(ctx context.Context, fn func(*journal.Tx) error) error {
	w := j.inc.w
	if j.inc.isKilled() {
		return j.inc.block()
	}
	var before time.Duration
	d, arrived := w.delay(ctx, "step", writer(), func(d *dice) time.Duration {
		before = d.latency()
		return before
	})
	after := d.latency()
	switch {
	case j.inc.isKilled():
		return j.inc.block()
	case !arrived:
		return fmt.Errorf("cannot commit: %w", context.Cause(ctx))
	case w.fault("engine killed before a write", d.chance(crashOften)):
		return j.inc.crash()
	case w.fault("write failed", d.chance(writeOften)):
		return fmt.Errorf("cannot commit: no space left: %w", errdefs.ErrResourceExhausted)
	}
	err := j.Journal.Commit(ctx, fn)
	if err == nil {
		w.model.read(j.Journal)
	}
	if w.fault("engine killed after a write", d.chance(crashOften)) {
		return j.inc.crash()
	}
	w.fault("callback slow", before+after > time.Second)
	time.Sleep(w.bounded(after))
	if j.inc.isKilled() {
		return j.inc.block()
	}
	return err
}

var writers sync.Map // names by program counters

// writer names a write by its callers. Two writes that begin at the same moment, one of
// them because of the other, need different names.
func writer() string {
	var callers [5]uintptr
	n := runtime.Callers(4, callers[:]) // of Store.Update
	if name, ok := writers.Load(callers); ok {
		return name.(string)
	}
	name := "write"
	for frames := runtime.CallersFrames(callers[:n]); ; {
		f, more := frames.Next()
		name += " " + f.Function[strings.LastIndexByte(f.Function, '.')+1:]
		if !more {
			break
		}
	}
	writers.Store(callers, name)
	return name
}

// rootfsSet is the set of root filesystems. It outlives engines.
type rootfsSet struct {
	mu  sync.Mutex
	ids map[string]bool
}

func newRootfsSet() *rootfsSet { return &rootfsSet{ids: map[string]bool{}} }

func (s *rootfsSet) left() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id := range s.ids {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (s *rootfsSet) set(id string, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if there {
		s.ids[id] = true
	} else {
		delete(s.ids, id)
	}
}

// imageStub has one image, and root filesystems without files.
type imageStub struct {
	engine.Images // the methods that are not called here
	inc           *engineInstance
}

func (imageStub) Resolve(context.Context, string) (images.Image, error) {
	img := images.Image{ID: "sha256:00"}
	img.Config.Config.Cmd = []string{"sh"}
	return img, nil
}

func (s imageStub) PrepareRootfs(ctx context.Context, id string, _ images.Image) ([]mount.Mount, error) {
	if err := s.inc.step(ctx, "prepare rootfs", id); err != nil {
		return nil, err
	}
	s.inc.w.rootfs.set(id, true)
	return s.Mounts(ctx, id)
}

func (s imageStub) Mounts(context.Context, string) ([]mount.Mount, error) {
	return []mount.Mount{{Type: "bind", Source: s.inc.w.dir + "/rootfs"}}, nil
}

func (s imageStub) RemoveRootfs(ctx context.Context, id string) error {
	if err := s.inc.step(ctx, "remove rootfs", id); err != nil {
		return err
	}
	s.inc.w.rootfs.set(id, false)
	return nil
}

func (imageStub) Snapshotter() string { return "none" }
func (imageStub) Close() error        { return nil }

// step is a step that an engine takes outside of its own memory: at streams, files or the
// keeper.
func (i *engineInstance) step(ctx context.Context, what, id string) error {
	if i.isKilled() {
		return i.block()
	}
	name := what + " " + short(id)
	d, passed := i.w.delay(ctx, "step", name,
		func(d *dice) time.Duration { return d.between(time.Microsecond, 5*time.Millisecond) })
	switch {
	case i.isKilled():
		return i.block()
	case !passed:
		return context.Cause(ctx)
	case i.w.fault("streams or files failed", d.chance(streamsOften)):
		return fmt.Errorf("%s: %w", name, errdefs.ErrInternal)
	}
	return nil
}

var errCrashed = errors.New("the engine was killed")
