package engine

import (
	"context"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// JournalDump hands over what the engine's journal has. Its error is a *HistoryGoneError where the journal does not
// have all events after opts.After.
func (e *Engine) JournalDump(ctx context.Context, opts store.DumpOptions, fn func(store.DumpLine) error) error {
	return e.historyError(store.Dump(ctx, e.store, opts, fn))
}
