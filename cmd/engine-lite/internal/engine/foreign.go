package engine

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

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/ocilog"
	"github.com/engine-lite/engine-lite/journal"
)

// Foreign are the records of foreign containers: run -> foreignRecord.
var Foreign = store.Kind[foreignRecord]{
	Name: "external-container", Formerly: "foreign", What: "external container", Schema: func(r *foreignRecord) *uint { return &r.Schema },
}

const (
	// foreignRetry is the pause before what couldn't be told is tried again.
	foreignRetry = time.Second
	// foreignLook is the pause between two looks that nobody asked for: a command
	// may be killed after its work and before it tells of it.
	foreignLook = 10 * time.Second
)

// foreign is the part of the engine that tells of foreign containers: those of the
// OCI command line, which run in somebody else's process tree. The engine watches
// them and owns nothing of them: they are in the events only. One goroutine has
// all of it.
type foreign struct {
	e   *Engine
	dir string
	// byRun are the containers that the journal has.
	byRun map[string]*foreignContainer
	// unread are those whose record this release cannot read. Nobody is told of them: nobody knows what was told.
	unread map[string]bool
	// seen are the logs of which nothing is left to be told.
	seen map[string]logMark
	// held are the ids of which an earlier container isn't told of whole: those
	// of later ones wait.
	held map[string]bool
	// again tells that something waits for another look.
	again bool
	// ended gets the exits that the watchers see.
	ended    chan foreignExit
	watchers sync.WaitGroup
}

// logMark tells one state of a log from another.
type logMark struct {
	inode uint64
	size  int64
}

// foreignContainer is a container and what the engine has seen of its end.
type foreignContainer struct {
	record foreignRecord
	// name is the log's; empty before it was found.
	name string
	// exit is one that is seen and not told yet.
	exit    *foreignExit
	watched bool
}

// foreignRecord is what the journal keeps of a foreign container.
type foreignRecord struct {
	// Schema is the version of the stored form.
	Schema uint `json:",omitzero"`
	// State is the one at the offset in the log up to which events were told.
	State  ocilog.State
	Offset int64
	// Ended tells that its die event was told, or that there will be none.
	Ended     bool
	StartedAt time.Time

	Unknown store.Unknown `json:",embed"`
}

// openForeign takes up the foreign containers and begins to listen. The goroutine
// that it starts ends with the engine.
func (e *Engine) openForeign(ctx context.Context) error {
	f := &foreign{e: e, dir: e.opts.Spool, byRun: map[string]*foreignContainer{}, unread: map[string]bool{}, ended: make(chan foreignExit)}
	if err := f.load(); err != nil {
		return err
	}
	conn, remove, err := ocilog.Listen(f.dir)
	if err != nil {
		return fmt.Errorf("listen for foreign containers: %w", err)
	}
	if err := f.takeUp(ctx); err != nil {
		e.background.Stop()
		f.watchers.Wait()
		return errors.Join(err, remove())
	}
	e.background.Go(func() {
		f.run(e.background.Context(), conn)
		if err := remove(); err != nil {
			log.WithError(err).Warn("cannot remove the socket for foreign containers")
		}
	})
	return nil
}

func (f *foreign) load() error {
	return f.e.store.View(func(s *journal.Snapshot) error {
		return Foreign.ForEachOr(s, func(run string, r foreignRecord) error {
			f.byRun[run] = &foreignContainer{record: r}
			return nil
		}, func(run string, _ []byte, why error) error {
			log.WithError(why).WithField("run", run).Error("the record of an external container cannot be read: no events tell of the container")
			f.unread[run] = true
			return nil
		})
	})
}

// takeUp tells of what happened while no engine was there.
func (f *foreign) takeUp(ctx context.Context) error {
	held, err := f.e.stdio.keeper.List(ctx) // before the look at the logs: a hold is younger than its log
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
			if err := f.e.stdio.keeper.Release(ctx, h.Key, ""); err != nil {
				return fmt.Errorf("release a foreign container's process: %w", err)
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
func (f *foreign) begun() (map[string]bool, error) {
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

// run reads whatever the command line tells of, until ctx ends.
func (f *foreign) run(ctx context.Context, conn *net.UnixConn) {
	woken := make(chan struct{}, 1)
	f.watchers.Go(func() { receiveWakes(conn, woken) }) // ends when its connection's deadline is set
	look := time.NewTimer(foreignLook)
	defer look.Stop()
	for ctx.Err() == nil {
		pause := foreignLook
		if f.again {
			pause = foreignRetry
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
	f.watchers.Wait()
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

// scan tells of what is new in the logs.
func (f *foreign) scan(ctx context.Context) {
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
			told, err := f.read(ctx, name)
			if err != nil && ctx.Err() == nil {
				log.WithError(err).WithField("log", name).Error("cannot tell of a foreign container")
			}
			if !told {
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
func (f *foreign) logs() []os.DirEntry {
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
