package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/fdpass"
)

// helloWait bounds the time between connecting and the handshake.
const helloWait = 5 * time.Second

// session is the keeper's side of one connection. It owns the connection.
type session struct {
	conn    *net.UnixConn
	log     *log.Logger
	ledger  *ledger
	streams *registry
	greeted bool
	// awaitDead waits for the sessions of clients that are gone.
	awaitDead func()
	done      chan struct{} // closed when the session has ended
}

// serve answers requests until the connection ends, then takes back what the client had taken.
func (s *session) serve() {
	if err := s.answerAll(); err != nil {
		s.log.Printf("connection: %v", err)
	}
	s.conn.Close() // whoever reads it knows by now
	if err := s.streams.giveAllBack(s); err != nil {
		s.log.Printf("connection: %v", err)
	}
}

// answerAll returns nil when the client has ended the connection.
func (s *session) answerAll() error {
	ours, err := peerIsOurs(s.conn)
	if err != nil {
		return fmt.Errorf("cannot learn who connected: %w", err)
	}
	if !ours {
		return s.send(refusal(fmt.Errorf("the keeper serves only its own user: %w", errdefs.ErrPermissionDenied)), nil)
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(helloWait)); err != nil {
		return fmt.Errorf("cannot bound the handshake: %w", err)
	}
	buffer := make([]byte, maxRequest)
	for {
		n, fds, err := fdpass.Read(s.conn, buffer, maxDescriptors)
		switch {
		case errors.Is(err, fdpass.ErrTruncated):
			err = s.send(refusal(err), nil)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("no handshake within %v: %w", helloWait, err)
		case err != nil:
			return nil
		default:
			err = s.answer(buffer[:n], fds)
		}
		if err != nil {
			return nil // the client doesn't listen any more
		}
	}
}

// answer does what one packet asks for and answers it. It owns fds. Its error is the connection's end.
func (s *session) answer(packet []byte, fds []int) error {
	r, err := decodeRequest(packet)
	if err == nil {
		err = s.admit(r, fds)
	}
	if err != nil {
		fdpass.Close(fds)
		a := refusal(err)
		a.ID = r.ID
		return s.send(a, nil)
	}
	if r.Op == opExits {
		return s.follow(r.ID)
	}
	a, out, err := s.do(r, fds)
	if err != nil {
		a = refusal(err)
	}
	a.ID = r.ID
	defer fdpass.Close(out)
	return s.send(a, out)
}

// admit refuses what comes before the handshake, and descriptors that nobody asked for.
func (s *session) admit(r request, fds []int) error {
	if r.Op != opHello && !s.greeted {
		return fmt.Errorf("cannot do %.32q before the handshake: %w", r.Op, errdefs.ErrFailedPrecondition)
	}
	if r.Op != opHold && len(fds) > 0 {
		return fmt.Errorf("cannot do %.32q with %d descriptors: %w", r.Op, len(fds), errdefs.ErrInvalidArgument)
	}
	return nil
}

// do carries out one request. It owns fds; the descriptors that it returns are its caller's.
func (s *session) do(r request, fds []int) (answer, []int, error) {
	id := streamID{r.Key, r.Name}
	switch r.Op {
	case opHello:
		return s.hello(r)
	case opHold:
		return answer{}, nil, s.hold(r, fds)
	case opTake:
		out, err := s.streams.take(id, s)
		return answer{Raw: len(out) > 1}, out, err
	case opReturn:
		return answer{}, nil, s.streams.giveBack(id, s)
	case opRelease:
		return answer{}, nil, s.release(id)
	case opList:
		held, more := s.streams.list(id)
		return answer{Held: held, More: more}, nil, nil
	case opLookup:
		exit, ok := s.ledger.lookup(r.Pid, r.Start)
		if !ok {
			return answer{}, nil, nil
		}
		return answer{Exits: []Exit{exit}}, nil, nil
	case opForget:
		s.ledger.forget(r.Pid, r.Start)
		return answer{}, nil, nil
	default:
		return answer{}, nil, fmt.Errorf("cannot do %.32q: %w", r.Op, errdefs.ErrInvalidArgument)
	}
}

// hello shakes hands.
func (s *session) hello(r request) (answer, []int, error) {
	if r.Protocol != Protocol {
		return answer{}, nil, fmt.Errorf("the keeper speaks protocol %d, the client %d: %w", Protocol, r.Protocol, errdefs.ErrFailedPrecondition)
	}
	if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
		return answer{}, nil, fmt.Errorf("cannot end the handshake: %w", err)
	}
	s.awaitDead()
	s.greeted = true
	return answer{Protocol: Protocol, Pid: os.Getpid()}, nil, nil
}

// hold takes descriptors over.
func (s *session) hold(r request, fds []int) error {
	var owner any
	if r.Taken {
		owner = s
	}
	held, err := newStream(r, fds, owner)
	if err != nil {
		fdpass.Close(fds)
		return err
	}
	return s.streams.hold(held)
}

// release lets go of streams.
func (s *session) release(id streamID) error {
	if err := checkID(id); err != nil {
		return err
	}
	return s.streams.release(id)
}

// follow sends every exit until the connection ends. A client that doesn't read holds up only this session: the exits wait in the ledger.
func (s *session) follow(id uint64) error {
	var reading sync.WaitGroup
	defer reading.Wait()
	defer s.conn.Close() // ends the reading
	gone := make(chan struct{})
	reading.Go(func() {
		defer close(gone)
		s.discard()
	})
	for cursor := s.ledger.begin(); ; {
		exits, changed, err := s.ledger.after(cursor)
		if err != nil {
			a := refusal(err)
			a.ID = id
			return errors.Join(s.send(a, nil), err)
		}
		if len(exits) > 0 {
			cursor = exits[len(exits)-1].Seq
			if err := s.send(answer{ID: id, Exits: exits}, nil); err != nil {
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
		_, fds, err := fdpass.Read(s.conn, buffer, maxDescriptors)
		fdpass.Close(fds)
		if err != nil && !errors.Is(err, fdpass.ErrTruncated) {
			return
		}
	}
}

// send writes an answer.
func (s *session) send(a answer, fds []int) error {
	data, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("cannot encode answer: %w", err)
	}
	return fdpass.Write(s.conn, data, fds)
}
