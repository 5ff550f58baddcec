package simulation

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// stdioTap makes one engine's ends of the streams. They end with the engine.
type stdioTap struct{ inc *engineInstance }

func (s stdioTap) Create(ctx context.Context, c libcontainerd.StreamsConfig) (libcontainerd.Streams, error) {
	if err := s.inc.step(ctx, "create streams", c.ContainerID); err != nil {
		return nil, err
	}
	return s.tapped(s.inc.w.streams.Create(ctx, c))
}

func (s stdioTap) Restore(ctx context.Context, c libcontainerd.StreamsConfig) (libcontainerd.Streams, error) {
	if s.inc.isKilled() {
		return nil, s.inc.block()
	}
	return s.tapped(s.inc.w.streams.Restore(ctx, c))
}

func (s stdioTap) tapped(inner libcontainerd.Streams, err error) (libcontainerd.Streams, error) {
	if err != nil {
		return nil, err
	}
	t := &streamsTap{inner, s.inc}
	s.inc.addStreams(t)
	return t, nil
}

func (s stdioTap) RemoveStreams(ctx context.Context, id string) error {
	if s.inc.isKilled() {
		return s.inc.block()
	}
	return s.inc.w.streams.RemoveStreams(ctx, id)
}

// Leftovers lists the streams that exist, by container.
func (s stdioTap) Leftovers() (map[string][]string, error) {
	left := map[string][]string{}
	for _, name := range s.inc.w.streams.Left() {
		id, process, _ := strings.Cut(name, "/")
		left[id] = append(left[id], process)
	}
	return left, nil
}

type streamsTap struct {
	libcontainerd.Streams
	inc *engineInstance
}

func (s *streamsTap) Stdout() libcontainerd.Output { return s.output(s.Streams.Stdout()) }
func (s *streamsTap) Stderr() libcontainerd.Output { return s.output(s.Streams.Stderr()) }

func (s *streamsTap) output(o libcontainerd.Output) libcontainerd.Output {
	if o == nil {
		return nil
	}
	return outputTap{o, s.inc}
}

// Close removes the streams, unless the engine was killed before.
func (s *streamsTap) Close() error {
	s.inc.removeStreams(s)
	if s.inc.isKilled() {
		_ = s.inc.block()
		return s.Streams.Detach()
	}
	return s.Streams.Close()
}

func (s *streamsTap) Detach() error {
	s.inc.removeStreams(s)
	if s.inc.isKilled() {
		_ = s.inc.block()
	}
	return s.Streams.Detach()
}

// dropped closes the outputs, as the kernel closes the descriptors of a killed engine.
func (s *streamsTap) dropped() {
	for _, o := range []libcontainerd.Output{s.Streams.Stdout(), s.Streams.Stderr()} {
		if o != nil {
			_ = o.Close() // in memory: always nil
		}
	}
}

// outputTap has a file descriptor for the keeper.
type outputTap struct {
	libcontainerd.Output
	inc *engineInstance
}

func (o outputTap) SyscallConn() (syscall.RawConn, error) { return o.inc.w.keeper.null.SyscallConn() }

func (o outputTap) Splice(dst *os.File, off int64, limit int) (int64, error) {
	n, err := o.Output.Splice(dst, off, limit)
	if o.inc.isKilled() {
		return n, o.inc.block()
	}
	return n, err
}

// memoryKeeper is a keeper that only records what it holds.
type memoryKeeper struct {
	null *os.File

	mu   sync.Mutex
	held map[keeper.Held]bool
}

func newMemoryKeeper() *memoryKeeper {
	return &memoryKeeper{held: map[keeper.Held]bool{}}
}

func (k *memoryKeeper) left() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var names []string
	for h := range k.held {
		names = append(names, h.Key+":"+h.Name)
	}
	slices.Sort(names)
	return names
}

// keeperTap is one engine's connection to the keeper.
type keeperTap struct {
	*memoryKeeper
	inc *engineInstance
}

func (k keeperTap) Hold(ctx context.Context, key, name string, _, _ *os.File, _ keeper.HoldOptions) error {
	if err := k.inc.step(ctx, "hold", key[len(key)-12:]+name); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	h := keeper.Held{Key: key, Name: name}
	if k.held[h] {
		return fmt.Errorf("%s of %s: %w", name, key, errdefs.ErrAlreadyExists)
	}
	k.held[h] = true
	return nil
}

func (k keeperTap) Take(_ context.Context, key, name string) (stream, raw *os.File, err error) {
	if k.inc.isKilled() {
		return nil, nil, k.inc.block()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.held[keeper.Held{Key: key, Name: name}] {
		return nil, nil, fmt.Errorf("%s of %s: %w", name, key, errdefs.ErrNotFound)
	}
	return nil, nil, nil
}

func (k keeperTap) Release(_ context.Context, key, name string) error {
	if k.inc.isKilled() {
		return k.inc.block()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for h := range k.held {
		if h.Key == key && (name == "" || h.Name == name) {
			delete(k.held, h)
		}
	}
	return nil
}

func (k keeperTap) List(context.Context) ([]keeper.Held, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []keeper.Held
	for h := range k.held {
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b keeper.Held) int { return strings.Compare(a.Key+a.Name, b.Key+b.Name) })
	return list, nil
}
