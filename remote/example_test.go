package remote_test

import (
	"context"
	"fmt"
	"time"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/remote"
)

// An engine connects to a containerd that runs already, and runs a client on it until ctx
// ends.
func ExampleNew() {
	run := func(ctx context.Context, engine libcontainerd.Backend) error {
		connecting, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		daemon, err := remote.New(connecting, remote.Options{
			Address: "/run/containerd/containerd.sock", Namespace: "my-engine",
		})
		if err != nil {
			return err
		}
		defer daemon.Close()
		client, err := libcontainerd.New(daemon, libcontainerd.FIFO("/run/my-engine/stdio"), engine)
		if err != nil {
			return err
		}
		return client.Run(ctx)
	}
	_ = run
}

// An engine starts a containerd of its own, and connects to it.
func ExampleSupervise() {
	run := func(ctx context.Context) error {
		supervisor, err := remote.Supervise(ctx, remote.SupervisorOptions{
			Binary: "/usr/bin/containerd", Root: "/var/lib/my-engine/containerd", Dir: "/run/my-engine/containerd",
		})
		if err != nil {
			return err
		}
		defer supervisor.Close()
		daemon, err := remote.New(ctx, remote.Options{
			Address: supervisor.Address(), Namespace: "my-engine",
		})
		if err != nil {
			return err
		}
		defer daemon.Close()
		name, version, err := daemon.Version(ctx)
		fmt.Println(name, version)
		return err
	}
	_ = run
}
