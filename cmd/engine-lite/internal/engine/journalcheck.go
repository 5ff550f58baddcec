package engine

import (
	"context"
	"slices"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/external"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/volumes"
)

// JournalCheck returns what is wrong with the engine's journal.
func (e *Engine) JournalCheck(ctx context.Context) ([]string, error) {
	return CheckJournal(ctx, e.store)
}

// CheckJournal returns what is wrong with a journal: with its file, with its records, and where a record and the events
// that are kept contradict each other.
func CheckJournal(ctx context.Context, j store.Journal) ([]string, error) {
	return store.Check(ctx, j, journalKinds(), record.NewComparison(), volumes.NewComparison())
}

// journalKinds are all kinds of record that an engine keeps.
func journalKinds() []store.Registered {
	return slices.Concat(record.Kinds(), volumes.Kinds(), []store.Registered{external.Records})
}
