package keeper

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
	"github.com/engine-lite/engine-lite/internal/retry"
	"github.com/engine-lite/engine-lite/internal/unixsocket"
)

const (
	maxSessions = 64 // connections at a time
	// Descriptors that are not for held streams: for each session its socket and what one packet brings and takes away, and some for files.
	spareDescriptors = maxSessions*(1+maxDescriptors+2) + 64
	acceptWait       = 100 * time.Millisecond // after a failed accept
)

// Config is what a keeper runs with.
type Config struct {
	// Dir holds the keeper's lock, socket, pid file and ledger. It is made 0700, and should be on a tmpfs: after a reboot the ledger is dropped.
	Dir string
	// Runtimed is the command line of the runtime daemon, with an absolute path first. Empty: none is started.
	Runtimed []string
	// RuntimedLog is the file that runtimed's stdout and stderr are appended to; empty: they are dropped.
	RuntimedLog string
	// Log takes the keeper's own messages.
	Log *log.Logger
}

// server is a running keeper.
type server struct {
	log      *log.Logger
	ledger   *ledger
	pump     *pump
	reaper   *reaper
	runtimed *supervisor // nil without runtimed
	listener *net.UnixListener

	mu       sync.Mutex
	sessions map[*session]int // with their numbers in the order of their coming; nil once the server ends
	last     int
}

// Run is the whole keeper: it returns when ctx has ended, after it has ended runtimed and closed everything that it held. It calls ready
// once the socket answers. It makes the process the child subreaper and reaps all its children, so nothing else in the process may
// wait for any. Errors: FailedPrecondition if another keeper has the directory, InvalidArgument for a bad configuration.
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
		return nil, fmt.Errorf("a limit of %d open files leaves none to hold: %w", limit.Cur, errdefs.ErrFailedPrecondition)
	}
	var undo []func()
	defer func() {
		for ; err != nil && len(undo) > 0; undo = undo[:len(undo)-1] {
			undo[len(undo)-1]()
		}
	}()
	boot, err := readBootID()
	if err != nil {
		return nil, err
	}
	if s.ledger, err = openLedger(filepath.Join(cfg.Dir, "ledger"), boot, cfg.Log); err != nil {
		return nil, err
	}
	undo = append(undo, func() { s.ledger.Close() })
	if s.pump, err = newPump(room); err != nil {
		return nil, err
	}
	undo = append(undo, s.pump.close)
	if s.listener, err = unixsocket.Listen(ctx, network, filepath.Join(cfg.Dir, SocketName), 0o600); err != nil {
		return nil, err
	}
	undo = append(undo, func() { s.listener.Close() })
	if len(cfg.Runtimed) > 0 {
		s.runtimed = newSupervisor(cfg)
	}
	s.reaper, err = newReaper(s.ledger, cfg.Log, s.ended)
	return s, err
}

// ended is the reaper's callback.
func (s *server) ended(pid int) {
	if s.runtimed != nil {
		s.runtimed.ended(pid)
	}
}

// run starts the parts, waits for the end of ctx, and ends them in the order in which they need each other: runtimed is reaped and may
// use the socket to its end.
func (s *server) run(ctx context.Context, ready func()) error {
	var reaping, pumping, supervising, serving sync.WaitGroup
	stopReaping := make(chan struct{})
	reaping.Go(func() { s.reaper.run(stopReaping) })
	pumping.Go(func() {
		if err := s.pump.run(); err != nil {
			s.log.Print(err) // streams can still be held and taken
		}
	})
	serving.Go(func() { s.accept(ctx, &serving) })
	if s.runtimed != nil {
		supervising.Go(func() { s.runtimed.run(ctx) })
	}
	ready()
	<-ctx.Done()

	supervising.Wait()
	err := s.listener.Close()
	s.closeSessions()
	serving.Wait()
	err = errors.Join(err, s.pump.stop())
	pumping.Wait()
	s.pump.streams.closeAll()
	s.pump.close()
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
			s.log.Printf("accept: %v", err)
			_ = retry.Sleep(ctx, acceptWait) // the listener's end ends the loop
			continue
		}
		n := &session{conn: conn, log: s.log, ledger: s.ledger, streams: s.pump.streams, done: make(chan struct{})}
		n.awaitDead = func() { s.awaitDead(n) }
		if !s.add(n) {
			conn.Close() // nobody has been promised an answer
			continue
		}
		serving.Go(func() {
			n.serve()
			s.remove(n)
			close(n.done)
		})
	}
}

// add admits a session, unless there are too many, or the server ends.
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

// awaitDead waits until those of the sessions before this one whose clients are gone have given back what those had. A client that was
// started because another one died then finds everything as that one's end left it, however late its session is to notice.
func (s *server) awaitDead(n *session) {
	s.mu.Lock()
	earlier := maps.Clone(s.sessions)
	s.mu.Unlock()
	for other, number := range earlier {
		if number < earlier[n] && hungUp(other.conn) && !settled(other.done) {
			s.log.Print("connection: one that is dead doesn't end")
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
