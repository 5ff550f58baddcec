package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// waitLimit bounds each wait for something that must happen by itself.
const waitLimit = 90 * time.Second

// world is one run of this program: an engine with directories of its own, its containers,
// its consumers, and the killer.
type world struct {
	dir, bin, self string
	seed           uint64
	client         *http.Client
	reports        *reports
	engine         *process // the newest; only the killer changes it

	mu          sync.Mutex
	kills       []kill
	containers  []*container
	differences []string

	consumers []*consumer
	sums      sums
}

// kill is one kill by the killer.
type kill struct {
	victim string
	at     time.Time
}

func newWorld(bin string, seed uint64) (*world, error) {
	w := &world{seed: seed}
	var err error
	// Short, since paths of sockets have to be: unix(7), 108 bytes.
	if w.dir, err = os.MkdirTemp("/tmp", "chaos"); err != nil {
		return nil, err
	}
	if err := w.copyPrograms(bin); err != nil {
		return nil, errors.Join(err, os.RemoveAll(w.dir))
	}
	w.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: w.dial}}
	w.reports, err = listenForReports(w.reportAddress(), w.file("reports"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(w.dir))
	}
	return w, nil
}

// copyPrograms copies the programs to the world's directory, so that a build meanwhile
// does not change what is started next.
func (w *world) copyPrograms(from string) error {
	w.bin = w.file("bin")
	if err := os.Mkdir(w.bin, 0o700); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	w.self = filepath.Join(w.bin, filepath.Base(self))
	for _, path := range []string{filepath.Join(from, "engine-lite"), filepath.Join(from, "keeper"),
		filepath.Join(from, "runtimed"), self} {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(w.bin, filepath.Base(path)), data, 0o700); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", w.socket())
}

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }
func (w *world) runDir() string          { return w.file("run") }
func (w *world) socket() string          { return filepath.Join(w.runDir(), "engine.sock") }
func (w *world) reportAddress() string   { return "@" + filepath.Base(w.dir) }

// random returns a source of random numbers for one of the goroutines.
func (w *world) random(actor int) *rand.Rand {
	return rand.New(rand.NewPCG(w.seed, uint64(actor)))
}

// difference records a difference between what happened and what engine, logs or consumers
// say.
func (w *world) difference(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.differences = append(w.differences, fmt.Sprintf(format, args...))
}

// runAll does all of it: the kills, the end of all containers, and the comparison.
func (w *world) runAll(ctx context.Context, length time.Duration) (err error) {
	defer func() { err = errors.Join(err, w.reports.close()) }()
	if err := w.startEngine(ctx); err != nil {
		return errors.Join(err, w.stopEngines())
	}
	err = w.importSelf(ctx)
	if err == nil {
		err = w.startConsumers()
	}
	if err == nil {
		w.runUntil(ctx, length)
		err = w.compare(ctx)
	}
	err = errors.Join(err, w.removeAll(context.WithoutCancel(ctx)))
	for _, c := range w.consumers {
		c.end(w)
	}
	return errors.Join(err, w.stopEngines())
}

// runUntil runs containers and kills processes for so long. It returns when the last
// container has ended. The killer stops first.
func (w *world) runUntil(ctx context.Context, length time.Duration) {
	acting, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var users, killer sync.WaitGroup
	killer.Go(func() { w.killProcesses(acting) })
	for i, k := range containerKinds {
		users.Go(func() { w.runContainers(acting, ctx, k, i) })
	}
	killer.Wait()
	if ctx.Err() == nil {
		w.checkKills(length)
	}
	users.Wait()
}

// waitUntil polls until the condition is true, and reports whether that happened in time.
func waitUntil(ctx context.Context, condition func() bool) bool {
	for deadline := time.Now().Add(waitLimit); !condition(); sleep(ctx, 20*time.Millisecond) {
		if time.Now().After(deadline) || ctx.Err() != nil {
			return false
		}
	}
	return true
}
