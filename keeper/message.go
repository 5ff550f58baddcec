package keeper

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// Protocol is the number of the protocol that this package speaks. Client and keeper must have the same one.
const Protocol = 1

const (
	maxRequest     = 4 << 10  // bytes of a request
	maxAnswer      = 64 << 10 // bytes of an answer
	maxDescriptors = 4        // descriptors beside a packet
	maxKey         = 256      // bytes of a stream's key
)

// The operations of the protocol.
const (
	opHello   = "hello"
	opHold    = "hold"
	opTake    = "take"
	opReturn  = "return"
	opRelease = "release"
	opList    = "list"
	opLookup  = "lookup"
	opForget  = "forget"
	opExits   = "exits"
)

// request is what a client sends. Which fields count depends on the operation.
type request struct {
	ID       uint64 `json:"id"`
	Op       string `json:"op"`
	Protocol int    `json:"protocol,omitempty"`
	Key      string `json:"key,omitempty"`
	Name     string `json:"name,omitempty"`
	Raw      bool   `json:"raw,omitempty"`
	Bound    int64  `json:"bound,omitempty"`
	Taken    bool   `json:"taken,omitempty"`
	Pid      int    `json:"pid,omitempty"`
	Start    uint64 `json:"start,omitempty"`
}

// answer is what the keeper sends: one to every request, and any number to "exits".
type answer struct {
	ID       uint64 `json:"id"`
	Code     string `json:"code,omitempty"`
	Error    string `json:"error,omitempty"`
	Protocol int    `json:"protocol,omitempty"`
	Pid      int    `json:"pid,omitempty"`
	Raw      bool   `json:"raw,omitempty"`
	Held     []Held `json:"held,omitempty"`
	Exits    []Exit `json:"exits,omitempty"`
	More     bool   `json:"more,omitempty"`
}

// Held is what the keeper tells of one held stream.
type Held struct {
	// Key is the process that the stream belongs to, by convention "container/process".
	Key string `json:"key"`
	// Name is stdin, stdout, stderr or terminal.
	Name string `json:"name"`
	// Raw tells whether a raw file is held with the stream.
	Raw bool `json:"raw,omitempty"`
	// Bound is the space in bytes that the raw file may take before the keeper leaves the stream alone.
	Bound int64 `json:"bound,omitempty"`
	// Taken tells whether a live connection has the stream.
	Taken bool `json:"taken,omitempty"`
}

// decodeRequest reads a request from a packet. Errors are of class InvalidArgument.
func decodeRequest(packet []byte) (request, error) {
	var r request
	if err := json.Unmarshal(packet, &r); err != nil {
		return request{ID: r.ID}, fmt.Errorf("cannot understand request: %v: %w", err, errdefs.ErrInvalidArgument)
	}
	return r, nil
}

// decodeAnswer reads an answer from a packet. Errors are of class Internal: the keeper sent it.
func decodeAnswer(packet []byte) (answer, error) {
	var a answer
	if err := json.Unmarshal(packet, &a); err != nil {
		return answer{}, fmt.Errorf("cannot understand the keeper's answer: %v: %w", err, errdefs.ErrInternal)
	}
	return a, nil
}

// codes pairs the error classes with their names on the wire.
var codes = []struct {
	code  string
	class classed.Class
}{
	{"invalid-argument", errdefs.ErrInvalidArgument},
	{"not-found", errdefs.ErrNotFound},
	{"already-exists", errdefs.ErrAlreadyExists},
	{"failed-precondition", errdefs.ErrFailedPrecondition},
	{"permission-denied", errdefs.ErrPermissionDenied},
	{"resource-exhausted", errdefs.ErrResourceExhausted},
	{"out-of-range", errdefs.ErrOutOfRange},
	{"unavailable", errdefs.ErrUnavailable},
	{"internal", errdefs.ErrInternal},
}

// refusal is an answer that carries err and its class.
func refusal(err error) answer {
	for _, c := range codes {
		if errors.Is(err, c.class) {
			return answer{Code: c.code, Error: err.Error()}
		}
	}
	return answer{Code: "unknown", Error: err.Error()}
}

// err returns the error that an answer carries, or nil: its text, which already names the class, and the class. A class that this side doesn't know is Unknown.
func (a answer) err() error {
	if a.Code == "" {
		return nil
	}
	for _, c := range codes {
		if a.Code == c.code {
			return classed.Errorf(c.class, "%s", a.Error)
		}
	}
	return classed.Errorf(errdefs.ErrUnknown, "%s", a.Error)
}
