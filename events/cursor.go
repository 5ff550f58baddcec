package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/atomicfile"
)

// Position is how far a consumer has come. The zero value is that of a new one,
// which begins with the oldest event that the daemon keeps.
type Position struct {
	// Journal names the journal that Seq belongs to.
	Journal string `json:"journal"`
	// Seq is the number of the last event that was handled.
	Seq uint64 `json:"seq"`
}

// Cursor keeps a consumer's position. It is used by one Consume at a time.
type Cursor interface {
	// Load returns what was saved last, or the zero Position.
	Load(ctx context.Context) (Position, error)
	// Save is called after each event that was handled, with its number. Where
	// it fails, Consume ends with its error.
	Save(ctx context.Context, p Position) error
}

// Memory is a Cursor for consumers that begin anew with each process, at the
// position that it has.
type Memory Position

// Load implements Cursor.
func (m *Memory) Load(context.Context) (Position, error) { return Position(*m), nil }

// Save implements Cursor.
func (m *Memory) Save(_ context.Context, p Position) error {
	*m = Memory(p)
	return nil
}

// File is a Cursor in the file of that name, whose directory has to be there. The
// file is replaced as a whole and synced, so that a position once saved stays
// over a crash of the machine. A consumer that can bear to see events again is
// faster with a Cursor of its own that saves less often.
type File string

// Load implements Cursor. A file that holds no position is DataLoss.
func (f File) Load(context.Context) (Position, error) {
	data, err := os.ReadFile(string(f))
	if errors.Is(err, os.ErrNotExist) {
		return Position{}, nil
	}
	if err != nil {
		return Position{}, fmt.Errorf("cannot read the position: %w", err)
	}
	var p Position
	if err := json.Unmarshal(data, &p); err != nil {
		return Position{}, fmt.Errorf("cannot read the position in %s: %v: %w", string(f), err, errdefs.ErrDataLoss)
	}
	return p, nil
}

// Save implements Cursor.
func (f File) Save(_ context.Context, p Position) error {
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("cannot encode the position: %w", err)
	}
	if err := atomicfile.WriteSynced(string(f), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot save the position: %w", err)
	}
	return nil
}
