// Command one is an engine, its keeper and its runtimed in one program: TestOneProgram builds it in a module of its own.
//
//	one DIR SPEC
//
// It runs a container with the OCI spec in the file SPEC, prints its output and exit code, and stops the keeper.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/remote"
	"github.com/engine-lite/engine-lite/runtimed"
)

func main() {
	switch {
	case runtimed.Meant():
		os.Exit(runtimed.Main("one", os.Args[1:]))
	case len(os.Args) > 1 && os.Args[1] == "keeper":
		os.Exit(keeper.Main(os.Args[2:]))
	case len(os.Args) > 1 && os.Args[1] == "runtimed":
		os.Exit(runtimed.Main("one", os.Args[2:]))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// backend keeps what a container says.
type backend struct{ said chan []byte }

func (b backend) AttachStreams(_ context.Context, s libcontainerd.ProcessStreams) error {
	go func() { // ends when the client closes the streams
		text, _ := io.ReadAll(s.Stdout())
		b.said <- text
	}()
	return nil
}

func (b backend) StateChanged(context.Context, libcontainerd.Event) error { return nil }

func run(ctx context.Context, dir, specFile string) error {
	var spec specs.Spec
	data, err := os.ReadFile(specFile)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &spec); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	config := runtimed.Config{
		Root: filepath.Join(dir, "runtimed"), Address: filepath.Join(dir, "runtimed.sock"),
		Keeper: filepath.Join(dir, "keeper", keeper.SocketName), Runtime: "runc",
	}
	hold, err := keeper.Start(ctx, keeper.Options{
		Binary: self, Args: []string{"keeper"}, Dir: filepath.Join(dir, "keeper"),
		Runtimed: append([]string{self, "runtimed"}, config.Args()...),
	})
	if err != nil {
		return err
	}
	defer hold.Close()
	daemon, err := remote.New(ctx, remote.Options{Address: config.Address, Namespace: "one"})
	if err != nil {
		return err
	}
	defer daemon.Close()
	b := backend{said: make(chan []byte, 1)}
	client, err := libcontainerd.New(daemon, libcontainerd.FIFO(filepath.Join(dir, "stdio")), b)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- client.Run(running) }() // ends with stop
	exit, err := client.RunContainer(ctx, "c1", &spec, libcontainerd.CreateOptions{}, libcontainerd.StartOptions{})
	stop()
	if err := <-ended; err != nil {
		return err
	}
	if err != nil {
		return err
	}
	fmt.Printf("%sexit %d\n", <-b.said, exit.Code)
	return hold.Stop(ctx, keeper.StopOptions{})
}
