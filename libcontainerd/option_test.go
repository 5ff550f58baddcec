package libcontainerd_test

import (
	"context"
	"reflect"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
)

// listening is a fake daemon that keeps the arguments of its calls.
type listening struct {
	*libcontainerdtest.Daemon
	record libcontainerd.Record
	config libcontainerd.TaskConfig
}

func (l *listening) CreateContainer(ctx context.Context, r libcontainerd.Record) error {
	l.record = r
	return l.Daemon.CreateContainer(ctx, r)
}

func (l *listening) CreateTask(ctx context.Context, id string, c libcontainerd.TaskConfig) (int, error) {
	l.config = c
	return l.Daemon.CreateTask(ctx, id, c)
}

// runOnce creates, runs and deletes a container, and returns the daemon, which has kept
// the arguments.
func runOnce(t *testing.T, s *libcontainerdtest.Stdio, o libcontainerd.CreateOptions,
	opts ...libcontainerd.Option) *listening {
	t.Helper()
	d := &listening{Daemon: libcontainerdtest.NewDaemon(s)}
	defer d.Close()
	client, err := libcontainerd.New(d, s, &libcontainerdtest.Recorder{}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	ctr, err := client.Create(ctx, "a", &specs.Spec{Process: &specs.Process{Args: []string{"sh", "-c", "exit 3"}}}, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ctr.Start(ctx, libcontainerd.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	if exit, err := ctr.Wait(ctx, libcontainerd.InitProcess); err != nil || exit.Code != 3 {
		t.Fatalf("%+v, %v", exit, err)
	}
	if err := ctr.Delete(ctx, libcontainerd.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOptionsReachTheDaemon(t *testing.T) {
	options := &libcontainerd.RuntimeOptions{TypeURL: "some.options", Value: []byte("value")}
	plain := libcontainerd.CreateOptions{
		Runtime: "some.type", RuntimeOptions: options, SystemdCgroup: true, UID: 5, GID: 6,
	}
	d := runOnce(t, &libcontainerdtest.Stdio{}, plain.WithRuntime("/usr/bin/some", "--debug", "--log=/x"))
	if plain.RuntimePath != "" {
		t.Error("WithRuntime changed the options that it was called on")
	}
	if r := d.record; r.Runtime != "some.type" || r.RuntimeOptions != options || r.NoClean ||
		!slices.Equal(r.RuntimeArgs, []string{"--debug", "--log=/x"}) {
		t.Errorf("record %+v", r)
	}
	want := libcontainerd.TaskConfig{
		Runtime: "some.type", RuntimeOptions: options, RuntimePath: "/usr/bin/some",
		SystemdCgroup: true, IoUID: 5, IoGID: 6,
		Stdio: d.config.Stdio,
	}
	d.config.Warn = nil // functions can't be compared
	if !reflect.DeepEqual(d.config, want) {
		t.Errorf("task %+v", d.config)
	}
}

func TestNoPivotRootOnARamdisk(t *testing.T) {
	if d := runOnce(t, &libcontainerdtest.Stdio{}, libcontainerd.CreateOptions{}); d.config.NoPivotRoot {
		t.Error("a pivot is left out for no reason")
	}
	if d := runOnce(t, &libcontainerdtest.Stdio{},
		libcontainerd.CreateOptions{NoPivotRoot: true}); !d.config.NoPivotRoot {
		t.Error("the option does nothing")
	}
	t.Setenv("DOCKER_RAMDISK", "yes")
	if d := runOnce(t, &libcontainerdtest.Stdio{}, libcontainerd.CreateOptions{}); !d.config.NoPivotRoot {
		t.Error("DOCKER_RAMDISK does nothing")
	}
}

func TestNoClean(t *testing.T) {
	for _, tt := range []struct {
		env  string
		opts []libcontainerd.Option
		keep bool
	}{
		{env: ""}, {env: "0"}, {env: "1", keep: true}, {opts: []libcontainerd.Option{libcontainerd.WithNoClean()},
			keep: true},
	} {
		t.Setenv("LIBCONTAINERD_NOCLEAN", tt.env)
		s := &libcontainerdtest.Stdio{}
		d := runOnce(t, s, libcontainerd.CreateOptions{}, tt.opts...)
		if kept := len(s.Left()) > 0; kept != tt.keep || d.record.NoClean != tt.keep {
			t.Errorf("%+v: streams kept: %t, record %+v", tt, kept, d.record)
		}
	}
}
