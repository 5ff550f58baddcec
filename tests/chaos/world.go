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

// patience bounds each wait for something that has to happen by itself.
const patience = 90 * time.Second

// world is an engine with directories of its own, and all who have to do with it.
type world struct {
	dir, bin, self string
	seed           uint64
	client         *http.Client
	ledger         *ledger
	engine         *process // the newest; the killer's alone

	mu          sync.Mutex
	kills       []kill
	lives       []*life
	differences []string

	consumers []*consumer
	sums      sums
}

// kill is one of the killer's deeds.
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
	w.ledger, err = openLedger(w.ledgerAddress(), w.file("ledger"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(w.dir))
	}
	return w, nil
}

// copyPrograms has the programs in the world's directory: who builds them anew
// meanwhile doesn't change what is started next.
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
	for _, path := range []string{filepath.Join(from, "engine-lite"), filepath.Join(from, "keeper"), filepath.Join(from, "runtimed"), self} {
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
func (w *world) ledgerAddress() string   { return "@" + filepath.Base(w.dir) }

// random is a source of its own for each of those who act at the same time.
func (w *world) random(who int) *rand.Rand {
	return rand.New(rand.NewPCG(w.seed, uint64(who)))
}

// differ notes a difference between what happened and what is said of it.
func (w *world) differ(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.differences = append(w.differences, fmt.Sprintf(format, args...))
}

// chaos is all of it: the killings, the end of everything, and the comparison.
func (w *world) chaos(ctx context.Context, length time.Duration) (err error) {
	defer func() { err = errors.Join(err, w.ledger.close()) }()
	if err := w.startEngine(ctx); err != nil {
		return errors.Join(err, w.endEngine())
	}
	err = w.importSelf(ctx)
	if err == nil {
		err = w.startConsumers()
	}
	if err == nil {
		w.play(ctx, length)
		err = w.compare(ctx)
	}
	err = errors.Join(err, w.removeAll(context.WithoutCancel(ctx)))
	for _, c := range w.consumers {
		c.end(w)
	}
	return errors.Join(err, w.endEngine())
}

// play lets containers live and processes be killed, and returns when the last
// container has ended. The killer stops first.
func (w *world) play(ctx context.Context, length time.Duration) {
	acting, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var users, killer sync.WaitGroup
	killer.Go(func() { w.hunt(acting) })
	for i, k := range cast {
		users.Go(func() { w.follow(acting, ctx, k, i) })
	}
	killer.Wait()
	if ctx.Err() == nil {
		w.checkHunt(length)
	}
	users.Wait()
}

// holds polls until a condition does, and tells whether it did in time.
func holds(ctx context.Context, condition func() bool) bool {
	for deadline := time.Now().Add(patience); !condition(); rest(ctx, 20*time.Millisecond) {
		if time.Now().After(deadline) || ctx.Err() != nil {
			return false
		}
	}
	return true
}
