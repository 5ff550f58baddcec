package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/spec"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/users"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/eventstream"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mounts"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// BenchmarkSpec makes the runtime spec of a container, seccomp profile and users of the image included: once for each
// start.
func BenchmarkSpec(b *testing.B) {
	r := newRig(b)
	id := r.create("", "exit 0")
	rec := r.task(id).Record()
	rootfs, err := r.e.images.Mounts(b.Context(), id)
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		user, err := users.Resolve(users.Layers(rootfs), rec.Config.User, rec.HostConfig.GroupAdd)
		must(b, err)
		list, _, err := mounts.List(rec, mounts.Place{Dir: r.root})
		must(b, err)
		if _, err := spec.Build(b.Context(), rec, user, list, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExecSpec makes the process of an exec.
func BenchmarkExecSpec(b *testing.B) {
	r := newRig(b)
	rec := r.task(r.create("", "exit 0")).Record()
	rootfs, err := r.e.images.Mounts(b.Context(), rec.ID)
	must(b, err)
	user, err := users.Resolve(users.Layers(rootfs), rec.Config.User, rec.HostConfig.GroupAdd)
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := spec.BuildExec(rec, user); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEventToSubscriber is the time from an event of the client layer until a
// subscriber has the event of the engine. The record is changed and committed together
// with the event, which is read back.
func BenchmarkEventToSubscriber(b *testing.B) {
	r := newRig(b)
	id := r.run("", "sleep 1000")
	ctx, cancel := context.WithCancel(b.Context())
	delivered, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- r.e.Events(ctx, eventstream.Options{Since: time.Now()}, func(ev eventstream.Event) error {
			if ev.Action == "pause" || ev.Action == "unpause" {
				delivered <- struct{}{}
			}
			return nil
		})
	}()
	turn := []libcontainerd.EventType{libcontainerd.EventPaused, libcontainerd.EventResumed}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		must(b, r.e.StateChanged(ctx, libcontainerd.Event{Type: turn[n%2], ContainerID: id, Time: time.Now()}))
		<-delivered
	}
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		b.Error(err)
	}
}
