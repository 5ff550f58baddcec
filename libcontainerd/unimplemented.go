package libcontainerd

import (
	"context"
	"fmt"
	"syscall"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// UnimplementedDaemon is a Daemon whose methods all fail with NotImplemented. A Daemon that embeds it still compiles
// when a later release adds a method to the interface.
type UnimplementedDaemon struct{}

var _ Daemon = UnimplementedDaemon{}

func lacks(method string) error {
	return fmt.Errorf("the runtime daemon has no %s: %w", method, errdefs.ErrNotImplemented)
}
func (UnimplementedDaemon) Version(context.Context) (name, version string, err error) {
	return "", "", lacks("Version")
}
func (UnimplementedDaemon) CreateContainer(context.Context, Record) error {
	return lacks("CreateContainer")
}
func (UnimplementedDaemon) DeleteContainer(context.Context, string) error {
	return lacks("DeleteContainer")
}
func (UnimplementedDaemon) Containers(context.Context, func(string) error) error {
	return lacks("Containers")
}
func (UnimplementedDaemon) CreateTask(context.Context, string, TaskConfig) (pid int, err error) {
	return 0, lacks("CreateTask")
}
func (UnimplementedDaemon) AddExec(context.Context, string, string, ExecConfig) error {
	return lacks("AddExec")
}
func (UnimplementedDaemon) Start(context.Context, string, string) (pid int, err error) {
	return 0, lacks("Start")
}
func (UnimplementedDaemon) Kill(context.Context, string, string, syscall.Signal, bool) error {
	return lacks("Kill")
}
func (UnimplementedDaemon) Resize(context.Context, string, string, uint32, uint32) error {
	return lacks("Resize")
}
func (UnimplementedDaemon) CloseIO(context.Context, string, string) error { return lacks("CloseIO") }
func (UnimplementedDaemon) Pause(context.Context, string) error           { return lacks("Pause") }
func (UnimplementedDaemon) Resume(context.Context, string) error          { return lacks("Resume") }
func (UnimplementedDaemon) Pids(context.Context, string) ([]int, error)   { return nil, lacks("Pids") }
func (UnimplementedDaemon) Processes(context.Context, string) ([]Process, error) {
	return nil, lacks("Processes")
}
func (UnimplementedDaemon) Stats(context.Context, string) (*Stats, error) { return nil, lacks("Stats") }
func (UnimplementedDaemon) Update(context.Context, string, *specs.LinuxResources) error {
	return lacks("Update")
}
func (UnimplementedDaemon) Checkpoint(context.Context, string, CheckpointConfig) error {
	return lacks("Checkpoint")
}
func (UnimplementedDaemon) Wait(context.Context, string, string) (Exit, error) {
	return Exit{}, lacks("Wait")
}
func (UnimplementedDaemon) Delete(context.Context, string, string) (Exit, error) {
	return Exit{}, lacks("Delete")
}
func (UnimplementedDaemon) Process(context.Context, string, string) (Task, error) {
	return Task{}, lacks("Process")
}
func (UnimplementedDaemon) Tasks(context.Context) ([]Task, error) { return nil, lacks("Tasks") }
func (UnimplementedDaemon) Subscribe(context.Context) (Subscription, error) {
	return nil, lacks("Subscribe")
}
