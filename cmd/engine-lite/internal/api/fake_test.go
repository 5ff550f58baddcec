package api

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/moby/moby/api/types/checkpoint"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/exec"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/eventstream"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// fake is an Engine that writes down each call, fails with err where that is set,
// and answers with the zero value or what a test gave it. It has a part for each
// family.
type fake struct {
	calls
	fakeContainers
	fakeExecs
	fakeImages
	fakeNetworks
	fakeVolumes
	fakeSystem
	fakeEvents
	fakeJournal
}

// ready lets all parts write down their calls in the same place.
func (f *fake) ready() *fake {
	c := &f.calls
	f.fakeContainers.calls, f.fakeExecs.calls, f.fakeImages.calls, f.fakeNetworks.calls = c, c, c, c
	f.fakeSystem.calls, f.fakeEvents.calls, f.fakeJournal.calls, f.fakeVolumes.calls = c, c, c, c
	return f
}

// The fakes of tests about one call.
func withAttach(fn func(context.Context, engine.AttachOptions) error) *fake {
	return &fake{fakeContainers: fakeContainers{attach: fn}}
}

func withExport(fn func(context.Context, io.Writer) error) *fake {
	return &fake{fakeContainers: fakeContainers{export: fn}}
}

func withLogs(fn func(context.Context, engine.LogsOptions) error) *fake {
	return &fake{fakeContainers: fakeContainers{logs: fn}}
}

func withStats(fn func(context.Context, func(container.StatsResponse) error) error) *fake {
	return &fake{fakeContainers: fakeContainers{stats: fn}}
}

func withWait(fn func(context.Context) <-chan container.WaitResponse) *fake {
	return &fake{fakeContainers: fakeContainers{wait: fn}}
}

func withExecStart(fn func(context.Context, exec.StartOptions) error) *fake {
	return &fake{fakeExecs: fakeExecs{execStart: fn}}
}

func withProgress(fn func(progress func(jsonstream.Message) error) error) *fake {
	return &fake{fakeImages: fakeImages{progress: fn}}
}

func withSave(fn func(io.Writer) error) *fake {
	return &fake{fakeImages: fakeImages{save: fn}}
}

func withEvents(fn func(context.Context, func(eventstream.Event) error) error) *fake {
	return &fake{fakeEvents: fakeEvents{events: fn}}
}

// calls are the calls of an engine that were made.
type calls struct {
	err error

	mu   sync.Mutex
	made []string
}

// note writes a call down, with its arguments.
func (c *calls) note(name string, args ...any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made = append(c.made, name+fmt.Sprintf("%+v", args))
	return c.err
}

func (c *calls) noted() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.made...)
}

type fakeContainers struct {
	*calls
	attach  func(ctx context.Context, o engine.AttachOptions) error
	logs    func(ctx context.Context, o engine.LogsOptions) error
	stats   func(ctx context.Context, fn func(container.StatsResponse) error) error
	wait    func(ctx context.Context) <-chan container.WaitResponse
	export  func(ctx context.Context, w io.Writer) error
	changed []container.FilesystemChange
	pack    func(ctx context.Context, o engine.PackOptions) error
	unpack  func(ctx context.Context, o engine.UnpackOptions) error
	path    container.PathStat
	inspect container.InspectResponse
	list    []container.Summary
	created container.CreateRequest // by the last call of ContainerCreate
	options engine.CreateOptions    // likewise
	updated container.UpdateConfig  // by the last call of ContainerUpdate
}

func (f *fakeContainers) ContainerCreate(
	_ context.Context, name string, r container.CreateRequest, o engine.CreateOptions,
) (container.CreateResponse, error) {
	f.created, f.options = r, o
	mac := ""
	for mode, e := range r.NetworkingConfig.EndpointsConfig {
		mac += mode + "=" + e.MacAddress.String()
	}
	err := f.note("create", name, r.Image, r.Cmd, r.HostConfig.NetworkMode, mac, o.Platform)
	return container.CreateResponse{ID: "c1"}, err
}
func (f *fakeContainers) ContainerStatPath(_ context.Context, ref, path string) (container.PathStat, error) {
	return f.path, f.note("stat path", ref, path)
}
func (f *fakeContainers) ContainerPack(ctx context.Context, ref string, o engine.PackOptions) error {
	err := f.note("pack", ref, o.Path)
	if f.pack != nil {
		return f.pack(ctx, o)
	}
	return err
}
func (f *fakeContainers) ContainerUnpack(ctx context.Context, ref string, o engine.UnpackOptions) error {
	err := f.note("unpack", ref, o.Path, o.CopyUIDGID, o.NoOverwriteDirNonDir)
	if f.unpack != nil {
		return f.unpack(ctx, o)
	}
	return err
}
func (f *fakeContainers) ContainerStart(_ context.Context, ref string) error {
	return f.note("start", ref)
}
func (f *fakeContainers) ContainerRestore(_ context.Context, ref, dir, checkpoint string) error {
	return f.note("restore", ref, dir, checkpoint)
}
func (f *fakeContainers) CheckpointCreate(_ context.Context, ref string, r checkpoint.CreateRequest) error {
	return f.note("checkpointCreate", ref, r.CheckpointID, r.CheckpointDir, r.Exit)
}
func (f *fakeContainers) CheckpointList(_ context.Context, ref, dir string) ([]checkpoint.Summary, error) {
	return []checkpoint.Summary{{Name: "one"}}, f.note("checkpoints", ref, dir)
}
func (f *fakeContainers) CheckpointDelete(_ context.Context, ref, dir, id string) error {
	return f.note("checkpointDelete", ref, dir, id)
}
func (f *fakeContainers) ContainerStop(_ context.Context, ref string, o engine.StopOptions) error {
	return f.note("stop", ref, o.Signal, deref(o.Timeout))
}
func (f *fakeContainers) ContainerRestart(_ context.Context, ref string, o engine.StopOptions) error {
	return f.note("restart", ref, o.Signal, deref(o.Timeout))
}
func (f *fakeContainers) ContainerKill(_ context.Context, ref, signal string) error {
	return f.note("kill", ref, signal)
}
func (f *fakeContainers) ContainerPause(_ context.Context, ref string) error {
	return f.note("pause", ref)
}
func (f *fakeContainers) ContainerUnpause(_ context.Context, ref string) error {
	return f.note("unpause", ref)
}
func (f *fakeContainers) ContainerRename(_ context.Context, ref, name string) error {
	return f.note("rename", ref, name)
}
func (f *fakeContainers) ContainerUpdate(_ context.Context, ref string, c container.UpdateConfig) ([]string, error) {
	f.updated = c
	return nil, f.note("update", ref, c.Memory)
}
func (f *fakeContainers) ContainerChanges(_ context.Context, ref string) ([]container.FilesystemChange, error) {
	return f.changed, f.note("changes", ref)
}
func (f *fakeContainers) ContainerExport(ctx context.Context, ref string, w io.Writer) error {
	if f.export != nil {
		return f.export(ctx, w)
	}
	return f.note("export", ref)
}
func (f *fakeContainers) ContainerCommit(_ context.Context, ref string, o engine.CommitOptions) (string, error) {
	user := ""
	if o.Config != nil {
		user = o.Config.User
	}
	return "sha256:1", f.note("commit", ref, o.Reference, o.Author, o.Comment, o.Changes, o.Pause, user)
}
func (f *fakeContainers) ContainerRemove(_ context.Context, ref string, o engine.RemoveOptions) error {
	return f.note("remove", ref, o)
}
func (f *fakeContainers) ContainerPrune(_ context.Context, filters filters.Filters) (container.PruneReport, error) {
	return container.PruneReport{ContainersDeleted: []string{"c1"}, SpaceReclaimed: 5}, f.note("prune", filters)
}
func (f *fakeContainers) ContainerInspect(_ context.Context, ref string, size bool) (container.InspectResponse, error) {
	return f.inspect, f.note("inspect", ref, size)
}
func (f *fakeContainers) ContainerList(_ context.Context, o engine.ListOptions) ([]container.Summary, error) {
	return f.list, f.note("list", o)
}
func (f *fakeContainers) ContainerTop(_ context.Context, ref, psArgs string) (container.TopResponse, error) {
	return container.TopResponse{}, f.note("top", ref, psArgs)
}
func (f *fakeContainers) ContainerWait(ctx context.Context, ref string, c container.WaitCondition) (
	<-chan container.WaitResponse, error,
) {
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
func (f *fakeContainers) ContainerResize(_ context.Context, ref string, height, width uint32) error {
	return f.note("resize", ref, height, width)
}
func (f *fakeContainers) ContainerAttach(ctx context.Context, ref string, o engine.AttachOptions) error {
	err := f.note("attach", ref, o.Stdin, o.Stdout, o.Stderr, o.Logs, o.Stream, o.DetachKeys)
	if err != nil || f.attach == nil {
		return err
	}
	return f.attach(ctx, o)
}
func (f *fakeContainers) ContainerLogs(ctx context.Context, ref string, o engine.LogsOptions) error {
	err := f.note("logs", ref, o.Stdout, o.Stderr, o.Follow, o.Timestamps, o.Details, o.Tail,
		seconds(o.Since), seconds(o.Until))
	if err != nil || f.logs == nil {
		return err
	}
	return f.logs(ctx, o)
}
func (f *fakeContainers) ContainerStats(
	ctx context.Context, ref string, o engine.StatsOptions, fn func(container.StatsResponse) error,
) error {
	if err := f.note("stats", ref, o.Stream); err != nil || f.stats == nil {
		return err
	}
	return f.stats(ctx, fn)
}

type fakeExecs struct {
	*calls
	execStart func(ctx context.Context, o exec.StartOptions) error
}

func (f *fakeExecs) ExecCreate(_ context.Context, ref string, r container.ExecCreateRequest) (string, error) {
	return "e1", f.note("execCreate", ref, r.Cmd)
}
func (f *fakeExecs) ExecStart(ctx context.Context, id string, o exec.StartOptions) error {
	if err := f.note("execStart", id, o.Detach, o.ConsoleSize != nil); err != nil || f.execStart == nil {
		return err
	}
	return f.execStart(ctx, o)
}
func (f *fakeExecs) ExecInspect(_ context.Context, id string) (exec.Inspect, error) {
	return exec.Inspect{ID: id}, f.note("execInspect", id)
}
func (f *fakeExecs) ExecResize(_ context.Context, id string, height, width uint32) error {
	return f.note("execResize", id, height, width)
}

type fakeImages struct {
	*calls
	progress func(progress func(jsonstream.Message) error) error
	save     func(w io.Writer) error
	image    image.InspectResponse
	images   []image.Summary
}

func (f *fakeImages) ImageList(_ context.Context, all, sharedSize bool, filters filters.Filters) (
	[]image.Summary, error,
) {
	return f.images, f.note("images", all, sharedSize, filters)
}
func (f *fakeImages) ImagePrune(_ context.Context, filters filters.Filters) (image.PruneReport, error) {
	return image.PruneReport{}, f.note("imagePrune", filters)
}
func (f *fakeImages) ImageInspect(_ context.Context, ref string) (image.InspectResponse, error) {
	return f.image, f.note("imageInspect", ref)
}
func (f *fakeImages) ImageHistory(_ context.Context, ref string) ([]image.HistoryResponseItem, error) {
	return nil, f.note("history", ref)
}
func (f *fakeImages) ImageTag(_ context.Context, source, target string) error {
	return f.note("tag", source, target)
}
func (f *fakeImages) ImageRemove(_ context.Context, ref string, force, noPrune bool) ([]image.DeleteResponse, error) {
	return nil, f.note("imageRemove", ref, force, noPrune)
}
func (f *fakeImages) ImageLoad(
	_ context.Context, r io.Reader, quiet bool, progress func(jsonstream.Message) error,
) error {
	b, _ := io.ReadAll(r)
	return f.report(f.note("load", string(b), quiet), progress)
}
func (f *fakeImages) ImageImport(
	_ context.Context, r io.Reader, ref, message string, changes []string,
	progress func(jsonstream.Message) error,
) error {
	b, _ := io.ReadAll(r)
	return f.report(f.note("import", string(b), ref, message, changes), progress)
}
func (f *fakeImages) ImagePull(
	_ context.Context, ref, platform string, auth registry.AuthConfig,
	progress func(jsonstream.Message) error,
) error {
	return f.report(f.note("pull", ref, platform, auth.Username), progress)
}
func (f *fakeImages) report(err error, progress func(jsonstream.Message) error) error {
	if err != nil || f.progress == nil {
		return err
	}
	return f.progress(progress)
}
func (f *fakeImages) ImageSave(_ context.Context, refs []string, w io.Writer) error {
	if err := f.note("save", refs); err != nil || f.save == nil {
		return err
	}
	return f.save(w)
}

type fakeNetworks struct {
	*calls
	networks []network.Summary
}

func (f *fakeNetworks) NetworkList(_ context.Context, filters filters.Filters) ([]network.Summary, error) {
	return f.networks, f.note("networks", filters)
}
func (f *fakeNetworks) NetworkInspect(_ context.Context, ref string) (network.Inspect, error) {
	return network.Inspect{}, f.note("network", ref)
}

type fakeVolumes struct {
	*calls
	volumes []volume.Volume
}

func (f *fakeVolumes) VolumeList(_ context.Context, filters filters.Filters) ([]volume.Volume, []string, error) {
	return f.volumes, nil, f.note("volumes", filters)
}
func (f *fakeVolumes) VolumeInspect(_ context.Context, name string) (volume.Volume, error) {
	return volume.Volume{Name: name}, f.note("volume", name)
}
func (f *fakeVolumes) VolumeCreate(_ context.Context, r volume.CreateRequest) (volume.Volume, error) {
	return volume.Volume{Name: r.Name}, f.note("volumeCreate", r.Name, r.Driver, r.DriverOpts, r.Labels)
}
func (f *fakeVolumes) VolumeRemove(_ context.Context, name string, force bool) error {
	return f.note("volumeRemove", name, force)
}
func (f *fakeVolumes) VolumesPrune(_ context.Context, filters filters.Filters) (volume.PruneReport, error) {
	return volume.PruneReport{}, f.note("volumesPrune", filters)
}

type fakeSystem struct {
	*calls
	info    system.Info
	version system.VersionResponse
	usage   system.DiskUsage
}

func (f *fakeSystem) Version(context.Context) (system.VersionResponse, error) {
	return f.version, f.note("version")
}
func (f *fakeSystem) SystemDiskUsage(_ context.Context, objects []system.DiskUsageObject) (system.DiskUsage, error) {
	return f.usage, f.note("diskUsage", objects)
}
func (f *fakeSystem) Info(context.Context) (system.Info, error) { return f.info, f.note("info") }

type fakeEvents struct {
	*calls
	events func(ctx context.Context, fn func(eventstream.Event) error) error
	asked  eventstream.Options // by the last call of Events
}

func (f *fakeEvents) Events(ctx context.Context, o eventstream.Options, fn func(eventstream.Event) error) error {
	if err := f.note("events", seconds(o.Since), seconds(o.Until), o.Filters); err != nil || f.events == nil {
		return err
	}
	f.asked = o
	o.Begin(eventstream.Position{Journal: "j1", Newest: 12})
	return f.events(ctx, fn)
}

type fakeJournal struct {
	*calls
}

func (f *fakeJournal) JournalCheck(context.Context) ([]string, error) { return nil, f.note("check") }
func (f *fakeJournal) JournalDump(_ context.Context, o store.DumpOptions, _ func(store.DumpLine) error) error {
	return f.note("dump", o.After != nil && *o.After == 3, o.Limit, o.Records)
}
