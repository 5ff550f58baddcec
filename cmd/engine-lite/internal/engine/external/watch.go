// Package external appends the events of containers that other engines run by the OCI command line. These containers
// run in the process tree of their caller, which owns them: this engine neither lists nor ends them.
//
// Each container has a log of its own (internal/ocilog), which the commands write. The journal has, together with the
// events, the place in the log up to which they are appended.
package external

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/background"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/ocilog"
	"github.com/engine-lite/engine-lite/journal"
	"github.com/engine-lite/engine-lite/keeper"
)

// Records are the records of external containers, by the run.
var Records = store.Kind[Record]{
	Name: "external-container", Formerly: "foreign", What: "external container", Schema: func(r *Record) *uint { return &r.Schema },
}

const (
	// retryPause is the pause before a log that had to wait is read again.
	retryPause = time.Second
	// lookPause is the pause between two looks without a wake-up: a command
	// may be killed after its work and before it tells of it.
	lookPause = 10 * time.Second
)

// Keeper holds the pidfds of the containers' processes while the engine is away. *keeper.Client is one.
type Keeper interface {
	Hold(ctx context.Context, key, name string, stream, raw *os.File, o keeper.HoldOptions) error
	Take(ctx context.Context, key, name string) (stream, raw *os.File, err error)
	Release(ctx context.Context, key, name string) error
	List(ctx context.Context) ([]keeper.Held, error)
}

// watcher has the external containers of an engine. One goroutine has all of it.
type watcher struct {
	store      *store.Store
	keeper     Keeper
	background *background.Group
	dir        string
	// byRun are the containers that the journal has.
	byRun map[string]*container
	// unread are the containers whose record this release cannot read. Their logs are left alone: nobody knows which
	// events are appended.
	unread map[string]bool
	// seen are the logs that are read to their ends.
	seen map[string]logMark
	// held are the ids of which an earlier container has events to come. Those of later ones wait.
	held map[string]bool
	// again tells that something waits for another look.
	again bool
	// ended gets the exits of the processes.
	ended   chan exit
	waiters sync.WaitGroup
}

// logMark tells one state of a log from another.
type logMark struct {
	inode uint64
	size  int64
}

// container is a container and its exit, as far as the engine has seen it.
type container struct {
	record Record
	// name is the log's; empty before it was found.
	name string
	// exit is an exit without its event.
	exit    *exit
	watched bool
}

// Record is what the journal keeps of an external container.
type Record struct {
	// Schema is the version of the stored form.
	Schema uint `json:",omitzero"`
	// State is the container's state at Offset. The journal has the events of the log up to there.
	State  State
	Offset int64
	// Ended tells that the journal has the container's die event, or that there will be none.
	Ended     bool
	StartedAt time.Time

	Unknown store.Unknown `json:",embed"`
}

// State is the state of a container by its log, as the journal keeps it.
type State struct {
	ocilog.State

	Unknown store.Unknown `json:",embed"`
}

// Watch begins to watch the external containers whose logs are in dir: it appends the events of what happened while no
// engine was there, and returns. What it starts ends with the background.
func Watch(ctx context.Context, dir string, s *store.Store, k Keeper, b *background.Group) error {
	f := &watcher{
		store: s, keeper: k, background: b, dir: dir,
		byRun: map[string]*container{}, unread: map[string]bool{}, ended: make(chan exit),
	}
	if err := f.load(); err != nil {
		return err
	}
	conn, remove, err := ocilog.Listen(f.dir)
	if err != nil {
		return fmt.Errorf("listen for external containers: %w", err)
	}
	if err := f.takeUp(ctx); err != nil {
		b.Stop()
		f.waiters.Wait()
		return errors.Join(err, remove())
	}
	b.Go(func() {
		f.run(b.Context(), conn)
		if err := remove(); err != nil {
			log.WithError(err).Warn("cannot remove the socket for external containers")
		}
	})
	return nil
}

func (f *watcher) load() error {
	return f.store.View(func(s *journal.Snapshot) error {
		return Records.ForEachOr(s, func(run string, r Record) error {
			f.byRun[run] = &container{record: r}
			return nil
		}, func(run string, _ []byte, why error) error {
			log.WithError(why).WithField("run", run).Error(
				"cannot read the record of an external container; no further events of the container are appended")
			f.unread[run] = true
			return nil
		})
	})
}

// takeUp appends the events of what happened while no engine was there.
func (f *watcher) takeUp(ctx context.Context) error {
	held, err := f.keeper.List(ctx) // before the look at the logs: a hold is younger than its log
	if err != nil {
		return fmt.Errorf("list what the keeper holds: %w", err)
	}
	f.scan(ctx)
	begun, err := f.begun()
	if err != nil {
		return err
	}
	for _, h := range held {
		run, ours := strings.CutPrefix(h.Key, ocilog.HeldPrefix)
		if ours && f.byRun[run] == nil && !f.unread[run] && !begun[run] {
			if err := f.keeper.Release(ctx, h.Key, ""); err != nil {
				return fmt.Errorf("release an external container's process: %w", err)
			}
		}
	}
	for run, c := range f.byRun {
		if c.name == "" && !begun[run] {
			if err := f.lose(ctx, run, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// begun are the containers that have a log, whether it could be read or was just
// being renamed when the engine looked.
func (f *watcher) begun() (map[string]bool, error) {
	runs := map[string]bool{}
	for _, entry := range f.logs() {
		s, err := ocilog.Peek(f.dir, entry.Name())
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, err
		}
		runs[s.Container.Run] = true
	}
	for run := range f.byRun {
		runs[run] = runs[run] || ocilog.Gone(f.dir, run) // a log is renamed once, to this name
	}
	return runs, nil
}

// run reads the logs whenever a command wakes it, until ctx ends.
func (f *watcher) run(ctx context.Context, conn *net.UnixConn) {
	woken := make(chan struct{}, 1)
	f.waiters.Go(func() { receiveWakes(conn, woken) }) // ends when its connection's deadline is set
	look := time.NewTimer(lookPause)
	defer look.Stop()
	for ctx.Err() == nil {
		pause := lookPause
		if f.again {
			pause = retryPause
		}
		look.Reset(pause)
		select {
		case <-woken:
		case <-look.C:
		case x := <-f.ended:
			if c := f.byRun[x.run]; c != nil {
				c.exit = &x
				delete(f.seen, c.name)
			}
		case <-ctx.Done():
		}
		f.scan(ctx)
	}
	conn.SetReadDeadline(time.Unix(1, 0))
	f.waiters.Wait()
}

func receiveWakes(conn *net.UnixConn, woken chan<- struct{}) {
	for buf := make([]byte, 1); ; {
		if _, err := conn.Read(buf); err != nil {
			return
		}
		select {
		case woken <- struct{}{}:
		default: // a look that covers this one is due
		}
	}
}

// scan appends the events of the new lines in the logs.
func (f *watcher) scan(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	f.again, f.held = false, map[string]bool{}
	seen := map[string]logMark{}
	for _, entry := range f.logs() {
		info, err := entry.Info()
		if err != nil {
			continue // gone meanwhile
		}
		name := entry.Name()
		mark := logMark{size: info.Size()}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			mark.inode = stat.Ino
		}
		if f.seen[name] != mark {
			whole, err := f.read(ctx, name)
			if err != nil && ctx.Err() == nil {
				log.WithError(err).WithField("log", name).Error(
					"cannot read the log of an external container; trying again")
			}
			if !whole {
				f.again = true
				continue
			}
		}
		seen[name] = mark
	}
	f.seen = seen
}

// logs lists the logs: those of containers that are gone first, the one that went
// first before the others, so that an id's destroy comes before its next create.
func (f *watcher) logs() []os.DirEntry {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		f.again = true
		return nil
	}
	entries = slices.DeleteFunc(entries, func(entry os.DirEntry) bool { return !ocilog.IsLog(entry.Name()) })
	slices.SortStableFunc(entries, func(a, b os.DirEntry) int {
		switch x, y := ocilog.Retired(a.Name()), ocilog.Retired(b.Name()); {
		case x && y:
			return modified(a).Compare(modified(b))
		case x:
			return -1
		case y:
			return 1
		}
		return 0
	})
	return entries
}

func modified(entry os.DirEntry) time.Time {
	info, err := entry.Info()
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
