package api

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// fake is an Engine that writes down what it is asked, fails with err where
// that is set, and answers with the zero value or what a test gave it.
type fake struct {
	err error

	attach    func(ctx context.Context, o engine.AttachOptions) error
	execStart func(ctx context.Context, o engine.ExecStartOptions) error
	logs      func(ctx context.Context, o engine.LogsOptions) error
	asked     engine.EventsOptions // by the last call of Events
	events    func(ctx context.Context, fn func(engine.Event) error) error
	stats     func(ctx context.Context, fn func(container.StatsResponse) error) error
	wait      func(ctx context.Context) <-chan container.WaitResponse
	tell      func(progress func(jsonstream.Message) error) error
	save      func(w io.Writer) error
	inspect   container.InspectResponse
	list      []container.Summary
	created   container.CreateRequest // by the last call of ContainerCreate
	image     image.InspectResponse
	images    []image.Summary
	networks  []network.Summary
	info      system.Info
	version   system.VersionResponse

	mu    sync.Mutex
	calls []string
}

// note writes a call down, with its arguments.
func (f *fake) note(name string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name+fmt.Sprintf("%+v", args))
	return f.err
}

func (f *fake) noted() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

func (f *fake) ContainerCreate(_ context.Context, name string, r container.CreateRequest, platform string) (container.CreateResponse, error) {
	f.created = r
	mac := ""
	for mode, e := range r.NetworkingConfig.EndpointsConfig {
		mac += mode + "=" + e.MacAddress.String()
	}
	return container.CreateResponse{ID: "c1"}, f.note("create", name, r.Image, r.Cmd, r.HostConfig.NetworkMode, mac, platform)
}
func (f *fake) ContainerStart(_ context.Context, ref string) error { return f.note("start", ref) }
func (f *fake) ContainerStop(_ context.Context, ref string, o engine.StopOptions) error {
	return f.note("stop", ref, o.Signal, deref(o.Timeout))
}
func (f *fake) ContainerRestart(_ context.Context, ref string, o engine.StopOptions) error {
	return f.note("restart", ref, o.Signal, deref(o.Timeout))
}
func (f *fake) ContainerKill(_ context.Context, ref, signal string) error {
	return f.note("kill", ref, signal)
}
func (f *fake) ContainerPause(_ context.Context, ref string) error   { return f.note("pause", ref) }
func (f *fake) ContainerUnpause(_ context.Context, ref string) error { return f.note("unpause", ref) }
func (f *fake) ContainerRename(_ context.Context, ref, name string) error {
	return f.note("rename", ref, name)
}
func (f *fake) ContainerRemove(_ context.Context, ref string, o engine.RemoveOptions) error {
	return f.note("remove", ref, o)
}
func (f *fake) ContainerInspect(_ context.Context, ref string, size bool) (container.InspectResponse, error) {
	return f.inspect, f.note("inspect", ref, size)
}
func (f *fake) ContainerList(_ context.Context, o engine.ListOptions) ([]container.Summary, error) {
	return f.list, f.note("list", o)
}
func (f *fake) ContainerTop(_ context.Context, ref, psArgs string) (container.TopResponse, error) {
	return container.TopResponse{}, f.note("top", ref, psArgs)
}
func (f *fake) ContainerWait(ctx context.Context, ref string, c container.WaitCondition) (<-chan container.WaitResponse, error) {
	if err := f.note("wait", ref, c); err != nil {
		return nil, err
	}
	if f.wait != nil {
		return f.wait(ctx), nil
	}
	ch := make(chan container.WaitResponse, 1)
	ch <- container.WaitResponse{StatusCode: 7}
	return ch, nil
}
func (f *fake) ContainerResize(_ context.Context, ref string, height, width uint32) error {
	return f.note("resize", ref, height, width)
}
func (f *fake) ContainerAttach(ctx context.Context, ref string, o engine.AttachOptions) error {
	if err := f.note("attach", ref, o.Stdin, o.Stdout, o.Stderr, o.Logs, o.Stream, o.DetachKeys); err != nil || f.attach == nil {
		return err
	}
	return f.attach(ctx, o)
}
func (f *fake) ContainerLogs(ctx context.Context, ref string, o engine.LogsOptions) error {
	err := f.note("logs", ref, o.Stdout, o.Stderr, o.Follow, o.Timestamps, o.Details, o.Tail, seconds(o.Since), seconds(o.Until))
	if err != nil || f.logs == nil {
		return err
	}
	return f.logs(ctx, o)
}
func (f *fake) ContainerStats(ctx context.Context, ref string, stream bool, fn func(container.StatsResponse) error) error {
	if err := f.note("stats", ref, stream); err != nil || f.stats == nil {
		return err
	}
	return f.stats(ctx, fn)
}
func (f *fake) ExecCreate(_ context.Context, ref string, r container.ExecCreateRequest) (string, error) {
	return "e1", f.note("execCreate", ref, r.Cmd)
}
func (f *fake) ExecStart(ctx context.Context, id string, o engine.ExecStartOptions) error {
	if err := f.note("execStart", id, o.Detach, o.ConsoleSize != nil); err != nil || f.execStart == nil {
		return err
	}
	return f.execStart(ctx, o)
}
func (f *fake) ExecInspect(_ context.Context, id string) (engine.ExecInspect, error) {
	return engine.ExecInspect{ID: id}, f.note("execInspect", id)
}
func (f *fake) ExecResize(_ context.Context, id string, height, width uint32) error {
	return f.note("execResize", id, height, width)
}
func (f *fake) ImageList(_ context.Context, all bool, filters engine.Filters) ([]image.Summary, error) {
	return f.images, f.note("images", all, filters)
}
func (f *fake) ImageInspect(_ context.Context, ref string) (image.InspectResponse, error) {
	return f.image, f.note("imageInspect", ref)
}
func (f *fake) ImageHistory(_ context.Context, ref string) ([]image.HistoryResponseItem, error) {
	return nil, f.note("history", ref)
}
func (f *fake) ImageTag(_ context.Context, source, target string) error {
	return f.note("tag", source, target)
}
func (f *fake) ImageRemove(_ context.Context, ref string, force, noPrune bool) ([]image.DeleteResponse, error) {
	return nil, f.note("imageRemove", ref, force, noPrune)
}
func (f *fake) ImageLoad(_ context.Context, r io.Reader, quiet bool, progress func(jsonstream.Message) error) error {
	b, _ := io.ReadAll(r)
	return f.progress(f.note("load", string(b), quiet), progress)
}
func (f *fake) ImageImport(_ context.Context, r io.Reader, ref, message string, changes []string, progress func(jsonstream.Message) error) error {
	b, _ := io.ReadAll(r)
	return f.progress(f.note("import", string(b), ref, message, changes), progress)
}
func (f *fake) ImagePull(_ context.Context, ref, platform string, auth registry.AuthConfig, progress func(jsonstream.Message) error) error {
	return f.progress(f.note("pull", ref, platform, auth.Username), progress)
}
func (f *fake) progress(err error, progress func(jsonstream.Message) error) error {
	if err != nil || f.tell == nil {
		return err
	}
	return f.tell(progress)
}
func (f *fake) ImageSave(_ context.Context, refs []string, w io.Writer) error {
	if err := f.note("save", refs); err != nil || f.save == nil {
		return err
	}
	return f.save(w)
}
func (f *fake) Version(context.Context) (system.VersionResponse, error) {
	return f.version, f.note("version")
}
func (f *fake) Info(context.Context) (system.Info, error) { return f.info, f.note("info") }
func (f *fake) Events(ctx context.Context, o engine.EventsOptions, fn func(engine.Event) error) error {
	if err := f.note("events", seconds(o.Since), seconds(o.Until), o.Filters); err != nil || f.events == nil {
		return err
	}
	f.asked = o
	o.Begin(engine.EventsPosition{Journal: "j1", Newest: 12})
	return f.events(ctx, fn)
}
func (f *fake) JournalCheck(context.Context) ([]string, error) { return nil, f.note("check") }
func (f *fake) JournalDump(_ context.Context, o store.DumpOptions, _ func(store.DumpLine) error) error {
	return f.note("dump", o.After != nil && *o.After == 3, o.Limit, o.Records)
}
func (f *fake) NetworkList(_ context.Context, filters engine.Filters) ([]network.Summary, error) {
	return f.networks, f.note("networks", filters)
}
func (f *fake) NetworkInspect(_ context.Context, ref string) (network.Inspect, error) {
	return network.Inspect{}, f.note("network", ref)
}
