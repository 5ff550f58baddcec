package api

import (
	"context"
	"io"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// Engine is what the handlers ask for. A container or image is named by its
// name, its id or the beginning of its id. Errors carry the classes of
// github.com/containerd/errdefs.
type Engine interface {
	Containers
	Execs
	Images
	System
}

// Containers are the calls about containers.
type Containers interface {
	ContainerCreate(ctx context.Context, name string, r container.CreateRequest, platform string) (container.CreateResponse, error)
	// ContainerStart fails with NotModified where the container runs.
	ContainerStart(ctx context.Context, ref string) error
	// ContainerStop fails with NotModified where the container doesn't run.
	ContainerStop(ctx context.Context, ref string, o engine.StopOptions) error
	ContainerRestart(ctx context.Context, ref string, o engine.StopOptions) error
	ContainerKill(ctx context.Context, ref, signal string) error
	ContainerPause(ctx context.Context, ref string) error
	ContainerUnpause(ctx context.Context, ref string) error
	ContainerRename(ctx context.Context, ref, name string) error
	ContainerRemove(ctx context.Context, ref string, o engine.RemoveOptions) error
	ContainerInspect(ctx context.Context, ref string, size bool) (container.InspectResponse, error)
	ContainerList(ctx context.Context, o engine.ListOptions) ([]container.Summary, error)
	ContainerTop(ctx context.Context, ref, psArgs string) (container.TopResponse, error)
	// ContainerWait returns at once with a channel that gets one answer, or
	// with an error where the wait can't begin. The channel is closed without
	// an answer when ctx ends.
	ContainerWait(ctx context.Context, ref string, c container.WaitCondition) (<-chan container.WaitResponse, error)
	ContainerResize(ctx context.Context, ref string, height, width uint32) error
	ContainerAttach(ctx context.Context, ref string, o engine.AttachOptions) error
	ContainerLogs(ctx context.Context, ref string, o engine.LogsOptions) error
	// ContainerStats calls fn about once a second until ctx ends, or once
	// where stream is false.
	ContainerStats(ctx context.Context, ref string, stream bool, fn func(container.StatsResponse) error) error
}

// Execs are the calls about processes that were added to a container.
type Execs interface {
	ExecCreate(ctx context.Context, ref string, r container.ExecCreateRequest) (id string, err error)
	ExecStart(ctx context.Context, id string, o engine.ExecStartOptions) error
	ExecInspect(ctx context.Context, id string) (engine.ExecInspect, error)
	ExecResize(ctx context.Context, id string, height, width uint32) error
}

// Images are the calls about images.
type Images interface {
	ImageList(ctx context.Context, all bool, f engine.Filters) ([]image.Summary, error)
	ImageInspect(ctx context.Context, ref string) (image.InspectResponse, error)
	ImageHistory(ctx context.Context, ref string) ([]image.HistoryResponseItem, error)
	ImageTag(ctx context.Context, source, target string) error
	ImageRemove(ctx context.Context, ref string, force, noPrune bool) ([]image.DeleteResponse, error)
	// ImageLoad, ImageImport and ImagePull tell their progress in messages.
	ImageLoad(ctx context.Context, r io.Reader, quiet bool, progress func(jsonstream.Message) error) error
	ImageImport(ctx context.Context, r io.Reader, ref, message string, changes []string, progress func(jsonstream.Message) error) error
	ImagePull(ctx context.Context, ref, platform string, auth registry.AuthConfig, progress func(jsonstream.Message) error) error
	ImageSave(ctx context.Context, refs []string, w io.Writer) error
}

// System are the calls about the engine itself.
type System interface {
	Version(ctx context.Context) (system.VersionResponse, error)
	Info(ctx context.Context) (system.Info, error)
	// Events hands over the events from the past that o asks for and then, as
	// long as o.Until isn't reached, those that come. It returns when ctx ends.
	Events(ctx context.Context, o engine.EventsOptions, fn func(engine.Event) error) error
	// JournalCheck returns what is wrong with the journal, JournalDump hands over
	// what is in it.
	JournalCheck(ctx context.Context) ([]string, error)
	JournalDump(ctx context.Context, o store.DumpOptions, fn func(store.DumpLine) error) error
	NetworkList(ctx context.Context, f engine.Filters) ([]network.Summary, error)
	NetworkInspect(ctx context.Context, ref string) (network.Inspect, error)
}
