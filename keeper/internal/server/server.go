// Package server is the keeper's process: it accepts connections, reaps all children, and keeps runtimed running.
//
//	       engine                    runtimed
//	Hold/Take/Return |   Exits/Lookup/Forget |  (child, restarted)
//	        +--------v-----------------------v--+
//	        | keeper.sock (SOCK_SEQPACKET)      |
//	        |  streams -> pump    ledger <- reaper <--- waitid(2): containers, runtimed
//	        +-----------------------------------+
package server

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/flock"
	"github.com/engine-lite/engine-lite/internal/procfs"
	"github.com/engine-lite/engine-lite/internal/retry"
	"github.com/engine-lite/engine-lite/internal/unixsocket"
	"github.com/engine-lite/engine-lite/keeper/internal/ledger"
	"github.com/engine-lite/engine-lite/keeper/internal/streams"
	"github.com/engine-lite/engine-lite/keeper/internal/wire"
)

const (
	maxSessions = 64 // connections at a time
	// Descriptors that are not for held streams: for each session its socket and the descriptors of one packet in each
	// direction, and some for files.
	spareDescriptors = maxSessions*(1+wire.MaxDescriptors+2) + 64
	acceptWait       = 100 * time.Millisecond // after a failed accept
)

// SocketName is the name of the socket in the keeper's directory.
const SocketName = "keeper.sock"

// Config has the fields of keeper.Config.
type Config struct {
	Dir         string
	Runtimed    []string
	RuntimedLog string
	Log         *log.Logger
}

// server is a running keeper.
type server struct {
	log      *log.Logger
	ledger   *ledger.Ledger
	pump     *streams.Pump
	reaper   *reaper
	runtimed *supervisor
	listener *net.UnixListener
	stop     func() // ends run

	mu       sync.Mutex
	sessions map[*session]int // the value is the order in which they came; nil once the server ends
	last     int
}

// Run is keeper.Run.
func Run(ctx context.Context, cfg Config, ready func()) error {
	if len(cfg.Runtimed) > 0 && !filepath.IsAbs(cfg.Runtimed[0]) {
		return fmt.Errorf("cannot run %q: not an absolute path: %w", cfg.Runtimed[0], errdefs.ErrInvalidArgument)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	pidFile := filepath.Join(cfg.Dir, "keeper.pid")
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return fmt.Errorf("cannot write the pid file: %w", err)
	}
	defer func() { _ = os.Remove(pidFile) }()
	s, err := newServer(ctx, cfg)
	if err != nil {
		return err
	}
	return s.run(ctx, ready)
}

// lockDir makes the directory and locks it until the file is closed or the process ends.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the keeper's directory: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot protect the keeper's directory: %w", err)
	}
	lock, err := flock.Open(filepath.Join(dir, "lock"), flock.Patience)
	if errors.Is(err, flock.ErrTaken) {
		err = fmt.Errorf("another keeper has the directory %s: %w", dir, errdefs.ErrFailedPrecondition)
	}
	return lock, err
}

// newServer makes everything that run needs. The caller holds the directory's lock.
func newServer(ctx context.Context, cfg Config) (_ *server, err error) {
	s := &server{log: cfg.Log, sessions: make(map[*session]int)}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("cannot read the limit of open files: %w", err)
	}
	room := int(min(limit.Cur, 1<<20)) - spareDescriptors // the Go runtime has raised Cur to Max
	if room <= 0 {
		return nil, fmt.Errorf("a limit of %d open files leaves none to hold: %w",
			limit.Cur, errdefs.ErrFailedPrecondition)
	}
	var undo []func()
	defer func() {
		for ; err != nil && len(undo) > 0; undo = undo[:len(undo)-1] {
			undo[len(undo)-1]()
		}
	}()
	boot, err := procfs.Boot()
	if err != nil {
		return nil, err
	}
	if s.ledger, err = ledger.Open(filepath.Join(cfg.Dir, "ledger"), boot, cfg.Log); err != nil {
		return nil, err
	}
	undo = append(undo, func() { s.ledger.Close() })
	if s.pump, err = streams.NewPump(room); err != nil {
		return nil, err
	}
	undo = append(undo, s.pump.Close)
	if s.listener, err = unixsocket.Listen(ctx, wire.Network, filepath.Join(cfg.Dir, SocketName), 0o600); err != nil {
		return nil, err
	}
	undo = append(undo, func() { s.listener.Close() })
	s.runtimed = newSupervisor(cfg)
	s.reaper, err = newReaper(s.ledger, cfg.Log, s.runtimed.ended)
	return s, err
}

// run starts the parts, waits for the end of ctx or for a client's stop, and ends the parts in the order in which they
// need each other: runtimed may use the socket until it ends, and is reaped after that.
func (s *server) run(ctx context.Context, ready func()) error {
	ctx, s.stop = context.WithCancel(ctx)
	defer s.stop()
	var reaping, pumping, supervising, serving sync.WaitGroup
	stopReaping := make(chan struct{})
	reaping.Go(func() { s.reaper.run(stopReaping) })
	pumping.Go(func() {
		if err := s.pump.Run(); err != nil {
			s.log.Print(err) // streams can still be held and taken
		}
	})
	serving.Go(func() { s.accept(ctx, &serving) })
	supervising.Go(func() { s.runtimed.run(ctx) })
	ready()
	<-ctx.Done()

	supervising.Wait()
	err := s.listener.Close()
	s.closeSessions()
	serving.Wait()
	err = errors.Join(err, s.pump.Stop())
	pumping.Wait()
	s.pump.Streams.CloseAll()
	s.pump.Close()
	close(stopReaping)
	reaping.Wait()
	return errors.Join(err, s.ledger.Close())
}

// accept serves connections until the listener is closed.
func (s *server) accept(ctx context.Context, serving *sync.WaitGroup) {
	for {
		conn, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log.Printf("cannot accept a connection; trying again: %v", err)
			_ = retry.Sleep(ctx, acceptWait) // the listener's end ends the loop
			continue
		}
		n := &session{conn: conn, log: s.log, ledger: s.ledger, streams: s.pump.Streams,
			runtimed: s.runtimed, stop: s.stop, done: make(chan struct{})}
		n.awaitDead = func() { s.awaitDead(n) }
		if !s.add(n) {
			conn.Close() // nothing was read from it
			continue
		}
		serving.Go(func() {
			n.serve()
			s.remove(n)
			close(n.done)
		})
	}
}

// add admits a session. It returns false if there are too many, or if the server ends.
func (s *server) add(n *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions == nil || len(s.sessions) >= maxSessions {
		return false
	}
	s.last++
	s.sessions[n] = s.last
	return true
}

func (s *server) remove(n *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, n)
}

// awaitDead waits for the end of all sessions before this one whose clients are gone. Such a session gives back the
// streams that its client had taken. A client that was started because another one died can take those streams
// then, even if the session of the dead one notices late.
func (s *server) awaitDead(n *session) {
	s.mu.Lock()
	earlier := maps.Clone(s.sessions)
	s.mu.Unlock()
	for other, number := range earlier {
		if number < earlier[n] && hungUp(other.conn) && !streams.Settled(other.done) {
			s.log.Print("the session of a dead client does not end; serving the next client without waiting for it")
		}
	}
}

// closeSessions ends all sessions and admits no more.
func (s *server) closeSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.sessions {
		n.conn.Close() // its session may have closed it already
	}
	s.sessions = nil
}
