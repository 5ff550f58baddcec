package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// Protocol is the number of the protocol. Client and keeper must have the same one.
const Protocol = 1

const (
	MaxRequest     = 4 << 10  // bytes of a request
	MaxAnswer      = 64 << 10 // bytes of an answer
	MaxDescriptors = 4        // descriptors beside a packet
	MaxKey         = 256      // bytes of a stream's key
	MaxWords       = 4 << 10  // bytes of runtimed's last words, and of a command line in an answer
)

// DefaultBound is the bound of a raw file, in bytes, where a hold request has none.
const DefaultBound = 64 << 20

// The operations.
const (
	OpHello   = "hello"
	OpHold    = "hold"
	OpTake    = "take"
	OpReturn  = "return"
	OpRelease = "release"
	OpList    = "list"
	OpLookup  = "lookup"
	OpForget  = "forget"
	OpExits   = "exits"

	// These came later. An earlier keeper refuses them with InvalidArgument, and today's uses that class for nothing
	// that a client sends with them.
	OpRuntimed        = "runtimed"
	OpReplaceRuntimed = "replace-runtimed"
	OpStop            = "stop"
)

// The names of streams. Package keeper says what they are.
const (
	Stdin     = "stdin"
	Stdout    = "stdout"
	Stderr    = "stderr"
	Terminal  = "terminal"
	Process   = "process"
	StartFIFO = "start-fifo"
)

// Names are all names of streams.
var Names = []string{Stdin, Stdout, Stderr, Terminal, Process, StartFIFO}

// Request is a client's message. The operation says which other fields count.
type Request struct {
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
	Wait     bool   `json:"wait,omitempty"`
	Force    bool   `json:"force,omitempty"`

	Argv []string `json:"argv,omitempty"`
}

// Answer is a message of the keeper: one to each request, and any number to OpExits.
type Answer struct {
	ID       uint64 `json:"id"`
	Code     string `json:"code,omitempty"`
	Error    string `json:"error,omitempty"`
	Protocol int    `json:"protocol,omitempty"`
	Pid      int    `json:"pid,omitempty"`
	Raw      bool   `json:"raw,omitempty"`
	Held     []Held `json:"held,omitempty"`
	Exits    []Exit `json:"exits,omitempty"`
	More     bool   `json:"more,omitempty"`

	Runtimed *Runtimed `json:"runtimed,omitempty"`
}

// Held describes a held stream. Its fields are those of keeper.Held.
type Held struct {
	Key   string `json:"key"`
	Name  string `json:"name"`
	Raw   bool   `json:"raw,omitempty"`
	Bound int64  `json:"bound,omitempty"`
	Taken bool   `json:"taken,omitempty"`
}

// Exit is the end of one process. Its fields are those of keeper.Exit.
type Exit struct {
	Seq       uint64    `json:"seq"`
	Pid       int       `json:"pid"`
	StartTime uint64    `json:"start"`
	Status    uint32    `json:"status"`
	Time      time.Time `json:"time"`
}

// Runtimed describes the keeper's runtimed. Its fields are those of keeper.Runtimed.
type Runtimed struct {
	Argv    []string `json:"argv,omitempty"`
	Pid     int      `json:"pid,omitempty"`
	Serving bool     `json:"serving,omitempty"`
	Failing bool     `json:"failing,omitempty"`
	Last    *End     `json:"last,omitempty"`
}

// End is the end of one runtimed. Its fields are those of keeper.RuntimedEnd.
type End struct {
	Time   time.Time `json:"time"`
	Code   int       `json:"code"`
	Reason string    `json:"reason"`
	Words  string    `json:"words,omitempty"`
}

// DecodeRequest reads a request from a packet. Errors: InvalidArgument.
func DecodeRequest(packet []byte) (Request, error) {
	var r Request
	if err := json.Unmarshal(packet, &r); err != nil {
		return Request{ID: r.ID}, fmt.Errorf("cannot understand request: %v: %w", err, errdefs.ErrInvalidArgument)
	}
	return r, nil
}

// DecodeAnswer reads an answer from a packet. Errors: Internal, since the keeper sent it.
func DecodeAnswer(packet []byte) (Answer, error) {
	var a Answer
	if err := json.Unmarshal(packet, &a); err != nil {
		return Answer{}, fmt.Errorf("cannot understand the keeper's answer: %v: %w", err, errdefs.ErrInternal)
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

// Refusal returns an answer with err's text and class.
func Refusal(err error) Answer {
	for _, c := range codes {
		if errors.Is(err, c.class) {
			return Answer{Code: c.code, Error: err.Error()}
		}
	}
	return Answer{Code: "unknown", Error: err.Error()}
}

// Err returns the error in an answer, or nil. Its text is the keeper's, which names the class already. A class that
// this program does not know becomes Unknown.
func (a Answer) Err() error {
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
