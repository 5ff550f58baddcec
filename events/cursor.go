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

// Position says which event a consumer handled last. With the zero Position, Consume
// begins with the oldest event that the daemon has.
type Position struct {
	// Journal is the name of the journal that Seq belongs to.
	Journal string `json:"journal"`
	// Seq is the number of the last event that was handled.
	Seq uint64 `json:"seq"`
}

// Cursor stores a consumer's position. One Consume uses it at a time.
type Cursor interface {
	// Load returns the last saved position, or the zero Position.
	Load(ctx context.Context) (Position, error)
	// Save is called after each event that was handled, with the event's number. If
	// Save fails, Consume ends with that error. A consumer that has to handle each
	// event exactly once writes its result in Save, in one transaction with the
	// position: see examples/events.
	Save(ctx context.Context, p Position) error
}

// Memory is a Cursor in memory, for consumers that don't store their position. Consume
// begins after the position that it is set to, for instance by Client.Now.
type Memory Position

// Load implements Cursor.
func (m *Memory) Load(context.Context) (Position, error) { return Position(*m), nil }

// Save implements Cursor.
func (m *Memory) Save(_ context.Context, p Position) error {
	*m = Memory(p)
	return nil
}

// File is a Cursor in the file of that name. The file's directory must exist. Save
// replaces the file and syncs it to the disk, so that a saved position survives a crash
// of the machine. A consumer that may get some events again is faster with a Cursor of
// its own that saves less often.
type File string

// Load implements Cursor. The error is DataLoss if the file holds no position.
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
