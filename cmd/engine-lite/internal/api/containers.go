package api

import (
	"context"
	"io"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
)

// Containers are the calls about containers.
type Containers interface {
	ContainerCreate(ctx context.Context, name string, r container.CreateRequest, o engine.CreateOptions) (
		container.CreateResponse, error)
	// ContainerStart fails with NotModified where the container runs.
	ContainerStart(ctx context.Context, ref string) error
	// ContainerRestore starts a container from a checkpoint; dir is empty for the container's own directory.
	ContainerRestore(ctx context.Context, ref, dir, checkpoint string) error
	// ContainerStop fails with NotModified where the container doesn't run.
	ContainerStop(ctx context.Context, ref string, o engine.StopOptions) error
	ContainerRestart(ctx context.Context, ref string, o engine.StopOptions) error
	ContainerKill(ctx context.Context, ref, signal string) error
	ContainerPause(ctx context.Context, ref string) error
	ContainerUnpause(ctx context.Context, ref string) error
	// ContainerUpdate changes limits and restart policy, and returns warnings.
	ContainerUpdate(ctx context.Context, ref string, c container.UpdateConfig) (warnings []string, err error)
	ContainerRename(ctx context.Context, ref, name string) error
	ContainerRemove(ctx context.Context, ref string, o engine.RemoveOptions) error
	// ContainerPrune removes the containers that don't run.
	ContainerPrune(ctx context.Context, f filters.Filters) (container.PruneReport, error)
	ContainerInspect(ctx context.Context, ref string, size bool) (container.InspectResponse, error)
	ContainerList(ctx context.Context, o engine.ListOptions) ([]container.Summary, error)
	ContainerTop(ctx context.Context, ref, psArgs string) (container.TopResponse, error)
	// ContainerWait returns at once: a channel that gets one answer, or an error
	// where the wait can't begin. The channel is closed without an answer when ctx
	// ends.
	ContainerWait(ctx context.Context, ref string, c container.WaitCondition) (<-chan container.WaitResponse, error)
	// ContainerChanges lists what a container has changed in the files of its image.
	ContainerChanges(ctx context.Context, ref string) ([]container.FilesystemChange, error)
	// ContainerExport writes all files of a container to w, as a tar.
	ContainerExport(ctx context.Context, ref string, w io.Writer) error
	// ContainerCommit makes an image of a container, and returns the image's id.
	ContainerCommit(ctx context.Context, ref string, o engine.CommitOptions) (string, error)
	ContainerResize(ctx context.Context, ref string, height, width uint32) error
	ContainerAttach(ctx context.Context, ref string, o engine.AttachOptions) error
	ContainerLogs(ctx context.Context, ref string, o engine.LogsOptions) error
	// ContainerStatPath describes what is at a path in the container.
	ContainerStatPath(ctx context.Context, ref, path string) (container.PathStat, error)
	// ContainerPack and ContainerUnpack copy files from and to the container, as tar archives.
	ContainerPack(ctx context.Context, ref string, o engine.PackOptions) error
	ContainerUnpack(ctx context.Context, ref string, o engine.UnpackOptions) error
	// ContainerStats calls fn about once a second until ctx ends, or once
	// where stream is false.
	ContainerStats(ctx context.Context, ref string, o engine.StatsOptions, fn func(container.StatsResponse) error) error
}

// containerHandlers answer the requests about containers.
type containerHandlers struct {
	engine    Containers
	streaming *streaming
	sessions  *sessions
}

func (h containerHandlers) routes() []route {
	return []route{
		{get, "/containers/json", h.list},
		{post, "/containers/create", h.create},
		{post, "/containers/prune", h.prune},
		{get, "/containers/{id}/json", h.inspect},
		{post, "/containers/{id}/start", h.start},
		{post, "/containers/{id}/stop", h.stop},
		{post, "/containers/{id}/restart", h.restart},
		{post, "/containers/{id}/kill", h.kill},
		{post, "/containers/{id}/pause", h.pause},
		{post, "/containers/{id}/unpause", h.unpause},
		{post, "/containers/{id}/rename", h.rename},
		{post, "/containers/{id}/resize", h.resize},
		{post, "/containers/{id}/wait", h.wait},
		{post, "/containers/{id}/update", h.update},
		{get, "/containers/{id}/changes", h.changes},
		{get, "/containers/{id}/export", h.export},
		{post, "/commit", h.commit},
		{post, "/containers/{id}/attach", h.attach},
		{get, "/containers/{id}/attach/ws", h.attachWebSocket},
		{get, "/containers/{id}/logs", h.logs},
		{get, "/containers/{id}/top", h.top},
		{get, "/containers/{id}/stats", h.stats},
		{head, "/containers/{id}/archive", h.statPath},
		{get, "/containers/{id}/archive", h.getArchive},
		{put, "/containers/{id}/archive", h.putArchive},
		{del, "/containers/{id}", h.remove},
	}
}

func (h containerHandlers) prune(w *response, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	report, err := h.engine.ContainerPrune(r.Context(), filters)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, report)
}
