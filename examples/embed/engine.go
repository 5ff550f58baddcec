package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.etcd.io/bbolt"

	"github.com/engine-lite/engine-lite/heldstdio"
	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/remote"
	"github.com/engine-lite/engine-lite/runtimed"
)

const namespace = "embed"

// engine is the libcontainerd.Backend.
type engine struct {
	db      *bbolt.DB
	outputs *heldstdio.Outputs
	client  *libcontainerd.Client
}

// container is what the database has of a container.
type container struct {
	Options libcontainerd.RestoreOptions
	Exit    *libcontainerd.Exit // of the last run; nil before
}

var bucket = []byte("containers")

// change changes what the database has of a container, in one transaction. A container that it doesn't have is skipped:
// it is being removed.
func (e *engine) change(id string, fn func(c *container)) error {
	return e.db.Update(func(tx *bbolt.Tx) error {
		data := tx.Bucket(bucket).Get([]byte(id))
		if data == nil {
			return nil
		}
		var c container
		if err := json.Unmarshal(data, &c); err != nil {
			return err
		}
		fn(&c)
		data, err := json.Marshal(c)
		if err != nil {
			return err
		}
		return tx.Bucket(bucket).Put([]byte(id), data)
	})
}

func (e *engine) get(id string) (c container, err error) {
	err = e.db.View(func(tx *bbolt.Tx) error {
		data := tx.Bucket(bucket).Get([]byte(id))
		if data == nil {
			return fmt.Errorf("no container %q", id)
		}
		return json.Unmarshal(data, &c)
	})
	return c, err
}

func (e *engine) AttachStreams(_ context.Context, s libcontainerd.ProcessStreams) error {
	return e.outputs.Attach(s)
}

// StateChanged stores the change before it takes the event: that is all that the next engine needs.
func (e *engine) StateChanged(_ context.Context, ev libcontainerd.Event) error {
	return e.change(ev.ContainerID, func(c *container) {
		c.Options.Apply(ev)
		if ev.Type == libcontainerd.EventExit {
			c.Exit = &ev.Exit
		}
	})
}

func (e *engine) DrainStreams(ctx context.Context, containerID, processID string) error {
	return e.outputs.Drain(ctx, containerID, processID)
}

func run(ctx context.Context, dir, containerd string) (err error) {
	if !filepath.IsAbs(dir) {
		return errors.New("the directory must be absolute")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// One engine at a time: bbolt locks its file. A killed engine has no lock.
	db, err := bbolt.Open(filepath.Join(dir, "embed.db"), 0o600, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	}); err != nil {
		return err
	}
	options := keeper.Options{Binary: self, Args: []string{"keeper"}, Dir: filepath.Join(dir, "keeper")}
	address := containerd
	if containerd == "" {
		config := runtimed.Config{
			Root: filepath.Join(dir, "runtimed"), Address: filepath.Join(dir, "runtimed.sock"),
			Keeper: filepath.Join(options.Dir, keeper.SocketName),
		}
		address = config.Address
		options.Runtimed = append([]string{self, "runtimed"}, config.Args()...)
	}
	hold, err := keeper.Start(ctx, options)
	if err != nil {
		return err
	}
	defer hold.Close()
	daemon, err := remote.New(ctx, remote.Options{Address: address, Namespace: namespace})
	if err != nil {
		return err
	}
	defer daemon.Close()

	e := &engine{db: db, outputs: heldstdio.NewOutputs(filepath.Join(dir, "output"), 0)}
	stdio := &heldstdio.Stdio{
		Inner: libcontainerd.FIFO(filepath.Join(dir, "stdio")), Keeper: hold, Namespace: namespace, Find: e.outputs.Find, Engine: ctx,
	}
	if e.client, err = libcontainerd.New(daemon, stdio, e); err != nil {
		return err
	}
	unanswered, err := e.restore(ctx, daemon)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- e.client.Run(ctx) }() // ends with ctx
	select {
	case <-e.client.Ready():
	case <-ctx.Done():
	}
	for _, id := range unanswered {
		if err := e.remove(ctx, id); err != nil {
			return err
		}
	}
	go e.serve(ctx)
	select {
	case <-ctx.Done():
	case <-hold.Done(): // nobody keeps the exits of new containers
		return errors.New("the keeper is gone")
	}
	return errors.Join(<-ended, e.outputs.Close())
}

// restore takes over the containers of the database. It returns those of which nobody was told that they run: a run
// that was killed half way, and what the daemon has and the database does not. They are to be removed.
func (e *engine) restore(ctx context.Context, daemon libcontainerd.Daemon) (unanswered []string, err error) {
	known := map[string]container{}
	err = e.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(id, data []byte) error {
			var c container
			err := json.Unmarshal(data, &c)
			known[string(id)] = c
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	err = daemon.Containers(ctx, func(id string) error {
		if _, ok := known[id]; !ok {
			known[id] = container{}
		}
		return nil
	})
	for id, c := range known {
		if c.Options.Generation == 0 {
			unanswered = append(unanswered, id)
		}
		_, failed := e.client.Restore(ctx, id, c.Options)
		err = errors.Join(err, failed)
	}
	return unanswered, err
}

// run stores the container before it makes one, so that the next engine knows what to undo.
func (e *engine) run(ctx context.Context, id, specFile string) (pid int, err error) {
	var spec specs.Spec
	data, err := os.ReadFile(specFile)
	if err == nil {
		err = json.Unmarshal(data, &spec)
	}
	if err != nil {
		return 0, err
	}
	if _, err := e.get(id); err == nil {
		return 0, fmt.Errorf("there is a container %q", id)
	}
	err = e.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put([]byte(id), []byte("{}")) })
	if err != nil {
		return 0, err
	}
	ctr, err := e.client.Create(ctx, id, &spec, libcontainerd.CreateOptions{})
	if err == nil {
		pid, err = ctr.Start(ctx, libcontainerd.StartOptions{})
	}
	if err != nil && !errors.Is(err, libcontainerd.ErrNotTaken) {
		return 0, errors.Join(err, e.remove(ctx, id))
	}
	return pid, err
}

// ends returns the exit code of a container: of its run, or of the last one if an earlier engine has stored the exit.
func (e *engine) ends(id string, wait func(*libcontainerd.Container) (libcontainerd.Exit, error)) (string, error) {
	ctr, err := e.client.Get(id)
	if err != nil {
		return "", err
	}
	exit := libcontainerd.Exit{}
	if c, err := e.get(id); err == nil && c.Exit != nil {
		exit = *c.Exit
	} else if exit, err = wait(ctr); err != nil {
		return "", err
	}
	if exit.Unknown != "" {
		return "", errors.New(exit.Unknown)
	}
	return fmt.Sprint(exit.Code), nil
}

func (e *engine) remove(ctx context.Context, id string) error {
	ctr, err := e.client.Get(id)
	if err == nil {
		err = ctr.Delete(ctx, libcontainerd.DeleteOptions{Force: true})
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if err := e.outputs.Remove(id, ""); err != nil {
		return err
	}
	return e.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Delete([]byte(id)) })
}
