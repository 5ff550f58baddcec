package eventstream

import (
	"context"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// JournalDump hands over what the journal has. Its error is a *HistoryGoneError where the journal does not
// have all events after opts.After.
func (s *Stream) JournalDump(ctx context.Context, opts store.DumpOptions, fn func(store.DumpLine) error) error {
	return s.historyError(store.Dump(ctx, s.store, opts, fn))
}
