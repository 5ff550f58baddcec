package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"sync"
	"time"

	"github.com/engine-lite/engine-lite/keeper/internal/ledger"
	"github.com/engine-lite/engine-lite/keeper/internal/streams"
	"github.com/engine-lite/engine-lite/keeper/internal/wire"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/fdpass"
)

// helloWait bounds the time between connecting and the handshake.
const helloWait = 5 * time.Second

// session is the keeper's side of one connection. It owns the connection.
type session struct {
	conn    *net.UnixConn
	log     *log.Logger
	ledger  *ledger.Ledger
	streams *streams.Registry
	greeted bool
	// awaitDead waits for the sessions of clients that are gone.
	awaitDead func()
	runtimed  *supervisor
	stop      func()        // ends the keeper
	done      chan struct{} // closed when the session has ended
}

// serve answers requests until the connection ends, and then returns the streams that the client had taken.
func (s *session) serve() {
	if err := s.answerAll(); err != nil {
		s.log.Printf("a client's connection ended with an error; taking its streams back: %v", err)
	}
	s.conn.Close() // nothing can be lost: requests have their answers
	if err := s.streams.GiveAllBack(s); err != nil {
		s.log.Printf("cannot take back all streams of a client that is gone: %v", err)
	}
}

// answerAll returns nil when the client has ended the connection.
func (s *session) answerAll() error {
	who, err := peer(s.conn)
	if err != nil {
		return fmt.Errorf("cannot learn who connected: %w", err)
	}
	if int(who.Uid) != os.Geteuid() {
		return s.send(wire.Refusal(fmt.Errorf("the keeper serves only its own user: %w",
			errdefs.ErrPermissionDenied)), nil)
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(helloWait)); err != nil {
		return fmt.Errorf("cannot bound the handshake: %w", err)
	}
	buffer := make([]byte, wire.MaxRequest)
	for {
		n, fds, err := fdpass.Read(s.conn, buffer, wire.MaxDescriptors)
		switch {
		case errors.Is(err, fdpass.ErrTruncated):
			err = s.send(wire.Refusal(err), nil)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("no handshake within %v: %w", helloWait, err)
		case err != nil:
			return nil
		default:
			err = s.answer(buffer[:n], fds)
		}
		if err != nil {
			return nil // the client does not read any more
		}
	}
}

// answer does what one packet asks for and answers it. It owns fds. Its error is the connection's end.
func (s *session) answer(packet []byte, fds []int) error {
	r, err := wire.DecodeRequest(packet)
	if err == nil {
		err = s.admit(r, fds)
	}
	if err != nil {
		fdpass.Close(fds)
		a := wire.Refusal(err)
		a.ID = r.ID
		return s.send(a, nil)
	}
	if r.Op == wire.OpExits {
		s.noteServing()
		return s.follow(r.ID)
	}
	a, out, err := s.do(r, fds)
	if err != nil {
		a = wire.Refusal(err)
	}
	a.ID = r.ID
	defer fdpass.Close(out)
	if r.Op == wire.OpStop && err == nil {
		defer s.stop()
	}
	return s.send(a, out)
}

// admit refuses requests before the handshake, and descriptors that do not belong to the request.
func (s *session) admit(r wire.Request, fds []int) error {
	if r.Op != wire.OpHello && !s.greeted {
		return fmt.Errorf("cannot do %.32q before the handshake: %w", r.Op, errdefs.ErrFailedPrecondition)
	}
	if r.Op != wire.OpHold && len(fds) > 0 {
		return fmt.Errorf("cannot do %.32q with %d descriptors: %w", r.Op, len(fds), errdefs.ErrInvalidArgument)
	}
	return nil
}

// do carries out one request. It owns fds; the descriptors that it returns are its caller's.
func (s *session) do(r wire.Request, fds []int) (wire.Answer, []int, error) {
	id := streams.ID{Key: r.Key, Name: r.Name}
	switch r.Op {
	case wire.OpHello:
		return s.hello(r)
	case wire.OpHold:
		return wire.Answer{}, nil, s.hold(r, fds)
	case wire.OpTake:
		out, err := s.streams.Take(id, s)
		return wire.Answer{Raw: len(out) > 1}, out, err
	case wire.OpReturn:
		return wire.Answer{}, nil, s.streams.GiveBack(id, s)
	case wire.OpRelease:
		return wire.Answer{}, nil, s.release(id)
	case wire.OpList:
		held, more := s.streams.List(id)
		return wire.Answer{Held: held, More: more}, nil, nil
	case wire.OpLookup:
		exit, ok := s.ledger.Lookup(r.Pid, r.Start)
		if !ok {
			return wire.Answer{}, nil, nil
		}
		return wire.Answer{Exits: []wire.Exit{exit}}, nil, nil
	case wire.OpForget:
		s.ledger.Forget(r.Pid, r.Start)
		return wire.Answer{}, nil, nil
	case wire.OpRuntimed:
		return wire.Answer{Runtimed: s.describeRuntimed(r.Wait)}, nil, nil
	case wire.OpReplaceRuntimed:
		return wire.Answer{}, nil, s.replaceRuntimed(r.Argv)
	case wire.OpStop:
		return wire.Answer{}, nil, s.mayStop(r.Force)
	default:
		return wire.Answer{}, nil, fmt.Errorf("cannot do %.32q: %w", r.Op, errdefs.ErrInvalidArgument)
	}
}

// hello shakes hands.
func (s *session) hello(r wire.Request) (wire.Answer, []int, error) {
	if r.Protocol != wire.Protocol {
		return wire.Answer{}, nil, fmt.Errorf("the keeper speaks protocol %d, the client %d: %w",
			wire.Protocol, r.Protocol, errdefs.ErrFailedPrecondition)
	}
	if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
		return wire.Answer{}, nil, fmt.Errorf("cannot end the handshake: %w", err)
	}
	s.awaitDead()
	s.greeted = true
	return wire.Answer{Protocol: wire.Protocol, Pid: os.Getpid()}, nil, nil
}

// hold gives descriptors to the registry. It owns fds.
func (s *session) hold(r wire.Request, fds []int) error {
	var owner any
	if r.Taken {
		owner = s
	}
	held, err := streams.New(r, fds, owner)
	if err != nil {
		fdpass.Close(fds)
		return err
	}
	return s.streams.Hold(held)
}

// release closes held streams.
func (s *session) release(id streams.ID) error {
	if err := streams.CheckID(id); err != nil {
		return err
	}
	return s.streams.Release(id)
}

// follow sends every exit until the connection ends. A client that does not read delays only this session: the
// exits wait in the ledger.
func (s *session) follow(id uint64) error {
	var reading sync.WaitGroup
	defer reading.Wait()
	defer s.conn.Close() // ends the reading
	gone := make(chan struct{})
	reading.Go(func() {
		defer close(gone)
		s.discard()
	})
	for cursor := s.ledger.Begin(); ; {
		exits, changed, err := s.ledger.After(cursor)
		if err != nil {
			a := wire.Refusal(err)
			a.ID = id
			return errors.Join(s.send(a, nil), err)
		}
		if len(exits) > 0 {
			cursor = exits[len(exits)-1].Seq
			if err := s.send(wire.Answer{ID: id, Exits: exits}, nil); err != nil {
				return err
			}
			continue
		}
		select {
		case <-changed:
		case <-gone:
			return net.ErrClosed
		}
	}
}

// discard reads until the connection ends.
func (s *session) discard() {
	buffer := make([]byte, 1)
	for {
		_, fds, err := fdpass.Read(s.conn, buffer, wire.MaxDescriptors)
		fdpass.Close(fds)
		if err != nil && !errors.Is(err, fdpass.ErrTruncated) {
			return
		}
	}
}

// send writes an answer.
func (s *session) send(a wire.Answer, fds []int) error {
	data, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("cannot encode answer: %w", err)
	}
	return fdpass.Write(s.conn, data, fds)
}
