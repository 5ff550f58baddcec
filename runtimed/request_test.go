package runtimed_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/services/containers/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/api/services/introspection/v1"
	"github.com/containerd/containerd/api/services/namespaces/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc/codes"
	healthapi "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// A wrong request is answered with an error, and the daemon serves on.
func TestWrongRequests(t *testing.T) {
	d := startDaemon(t, "runc")
	d.run("c", "exec sleep 1000", nil)
	noProcess := d.spec("x", "")
	noProcess.Process = nil
	d.record("noprocess", noProcess)
	d.record("fifo", d.spec("fifo", "exit 0"))
	kata := &containers.Container{ID: "kata", Spec: pack(t, d.spec("x", "")),
		Runtime: &containers.Container_Runtime{Name: "io.containerd.kata.v2"}}
	ctx, cancel := d.within()
	defer cancel()
	_, err := d.containers.Create(ctx, &containers.CreateContainerRequest{Container: kata})
	check(t, err)
	_, err = d.containers.Create(ctx, &containers.CreateContainerRequest{Container: &containers.Container{ID: "garbage",
		Spec: &anypb.Any{Value: []byte("{]")}}})
	check(t, err)
	create := func(r *tasks.CreateTaskRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := d.tasks.Create(ctx, r); return err }
	}
	record := func(c *containers.Container) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := d.containers.Create(ctx, &containers.CreateContainerRequest{Container: c})
			return err
		}
	}
	for _, c := range []struct {
		name string
		call func(context.Context) error
		want codes.Code
	}{
		{"no record", record(nil), codes.InvalidArgument},
		{"path as id", record(&containers.Container{ID: "../x"}), codes.InvalidArgument},
		{"long id", record(&containers.Container{ID: strings.Repeat("x", 4096)}), codes.InvalidArgument},
		{"unicode id", record(&containers.Container{ID: "ü"}), codes.InvalidArgument},
		{"id taken", record(&containers.Container{ID: "c"}), codes.AlreadyExists},
		{"no such container", create(&tasks.CreateTaskRequest{ContainerID: "nobody"}), codes.NotFound},
		{"no id", create(&tasks.CreateTaskRequest{}), codes.InvalidArgument},
		{"task is there", create(&tasks.CreateTaskRequest{ContainerID: "c"}), codes.AlreadyExists},
		{"spec without process", create(&tasks.CreateTaskRequest{ContainerID: "noprocess"}), codes.InvalidArgument},
		{"spec is garbage", create(&tasks.CreateTaskRequest{ContainerID: "garbage"}), codes.InvalidArgument},
		{"runtime that needs a shim", create(&tasks.CreateTaskRequest{ContainerID: "kata"}), codes.Unimplemented},
		{"runtime that isn't there", create(&tasks.CreateTaskRequest{ContainerID: "fifo", RuntimePath: "/nope"}),
			codes.FailedPrecondition},
		{"options of another kind",
			create(&tasks.CreateTaskRequest{ContainerID: "fifo", Options: &anypb.Any{TypeUrl: "x"}}),
			codes.InvalidArgument},
		{"stdout is no FIFO", create(&tasks.CreateTaskRequest{ContainerID: "fifo", Stdout: "/etc/passwd"}),
			codes.InvalidArgument},
		{"stdout is relative", create(&tasks.CreateTaskRequest{ContainerID: "fifo", Stdout: "x"}),
			codes.InvalidArgument},
		{"terminal in one place only", create(&tasks.CreateTaskRequest{ContainerID: "fifo", Terminal: true}),
			codes.InvalidArgument},
		{"rootfs that can't be mounted", create(&tasks.CreateTaskRequest{ContainerID: "fifo",
			Rootfs: []*types.Mount{{Type: "bind", Source: "/nope"}}}), codes.Unknown},
		{"start again", func(ctx context.Context) error {
			_, err := d.tasks.Start(ctx, &tasks.StartRequest{ContainerID: "c"})
			return err
		}, codes.FailedPrecondition},
		{"delete running", func(ctx context.Context) error {
			_, err := d.tasks.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: "c"})
			return err
		}, codes.FailedPrecondition},
		{"delete record of running", func(ctx context.Context) error {
			_, err := d.containers.Delete(ctx, &containers.DeleteContainerRequest{ID: "c"})
			return err
		}, codes.FailedPrecondition},
		{"exec without spec", func(ctx context.Context) error {
			_, err := d.tasks.Exec(ctx, &tasks.ExecProcessRequest{ContainerID: "c", ExecID: "e"})
			return err
		}, codes.InvalidArgument},
		{"exec with a path as id", func(ctx context.Context) error {
			_, err := d.tasks.Exec(ctx, &tasks.ExecProcessRequest{ContainerID: "c", ExecID: "../../e"})
			return err
		}, codes.InvalidArgument},
		{"no such exec", func(ctx context.Context) error {
			_, err := d.tasks.Wait(ctx, &tasks.WaitRequest{ContainerID: "c", ExecID: "e"})
			return err
		}, codes.NotFound},
		{"no such signal", func(ctx context.Context) error {
			_, err := d.tasks.Kill(ctx, &tasks.KillRequest{ContainerID: "c", Signal: 4000})
			return err
		}, codes.InvalidArgument},
		{"no terminal", func(ctx context.Context) error {
			_, err := d.tasks.ResizePty(ctx, &tasks.ResizePtyRequest{ContainerID: "c"})
			return err
		}, codes.FailedPrecondition},
		{"update with garbage", func(ctx context.Context) error {
			_, err := d.tasks.Update(ctx, &tasks.UpdateTaskRequest{ContainerID: "c"})
			return err
		}, codes.InvalidArgument},
		{"bad filter", func(ctx context.Context) error {
			_, err := d.tasks.Metrics(ctx, &tasks.MetricsRequest{Filters: []string{"]["}})
			return err
		}, codes.InvalidArgument},
		{"bad field", func(ctx context.Context) error {
			_, err := d.containers.Update(ctx,
				&containers.UpdateContainerRequest{Container: &containers.Container{ID: "c"},
					UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"id"}}})
			return err
		}, codes.InvalidArgument},
		{"bad topic", func(ctx context.Context) error {
			_, err := d.events.Publish(ctx, &eventsapi.PublishRequest{Topic: "x", Event: &anypb.Any{}})
			return err
		}, codes.InvalidArgument},
		{"empty envelope", func(ctx context.Context) error {
			_, err := d.events.Forward(ctx, &eventsapi.ForwardRequest{})
			return err
		}, codes.InvalidArgument},
		{"no namespace", func(context.Context) error {
			_, err := d.tasks.List(t.Context(), &tasks.ListTasksRequest{})
			return err
		}, codes.InvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			equal(t, "code", status.Code(c.call(ctx)), c.want)
		})
	}
	conn, err := net.Dial("unix", d.address)
	check(t, err)
	_, err = conn.Write([]byte(strings.Repeat("\x00garbage\xff", 1000)))
	check(t, err)
	check(t, conn.Close())
	d.awaitServing()
}

func TestSmallServices(t *testing.T) {
	d := startDaemon(t, "runc")
	ctx, cancel := d.within()
	defer cancel()
	v, err := version.NewVersionClient(d.conn).Version(ctx, &emptypb.Empty{})
	check(t, err)
	equal(t, "there is a version", v.Version != "", true)
	h, err := healthapi.NewHealthClient(d.conn).Check(ctx, &healthapi.HealthCheckRequest{})
	check(t, err)
	equal(t, "health", h.Status, healthapi.HealthCheckResponse_SERVING)
	p, err := introspection.NewIntrospectionClient(d.conn).Plugins(ctx, &introspection.PluginsRequest{})
	check(t, err)
	equal(t, "plugins", len(p.Plugins), 1)
	equal(t, "default runtime", filepath.Base(p.Plugins[0].Exports["oci-runtime"]), "runc")

	n := namespaces.NewNamespacesClient(d.conn)
	_, err = n.Create(ctx, &namespaces.CreateNamespaceRequest{Namespace: &namespaces.Namespace{Name: "other",
		Labels: map[string]string{"a": "b"}}})
	check(t, err)
	_, err = n.Create(ctx, &namespaces.CreateNamespaceRequest{Namespace: &namespaces.Namespace{Name: "other"}})
	equal(t, "twice", status.Code(err), codes.AlreadyExists)
	_, err = n.Update(ctx, &namespaces.UpdateNamespaceRequest{Namespace: &namespaces.Namespace{Name: "other",
		Labels: map[string]string{"c": "d"}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels.c"}}})
	check(t, err)
	d.killRuntimed()
	got, err := n.Get(ctx, &namespaces.GetNamespaceRequest{Name: "other"})
	check(t, err)
	equal(t, "labels", got.Namespace.Labels["a"]+got.Namespace.Labels["c"], "bd")
	_, err = n.Delete(ctx, &namespaces.DeleteNamespaceRequest{Name: "other"})
	check(t, err)

	d.record("c", d.spec("c", "x"))
	r, err := d.containers.Update(ctx, &containers.UpdateContainerRequest{Container: &containers.Container{ID: "c",
		Labels: map[string]string{"x": "y"}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels.x"}}})
	check(t, err)
	equal(t, "labels", r.Container.Labels["x"]+r.Container.Labels["for"], "ytest")
	list, err := d.containers.List(ctx, &containers.ListContainersRequest{Filters: []string{"labels.x==y"}})
	check(t, err)
	equal(t, "found by label", len(list.Containers), 1)
}
