package api

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// Journal are the calls about the engine's journal.
type Journal interface {
	// JournalCheck returns what is wrong with the journal.
	JournalCheck(ctx context.Context) ([]string, error)
	// JournalDump calls fn for each record and event that o asks for.
	JournalDump(ctx context.Context, o store.DumpOptions, fn func(store.DumpLine) error) error
}

// journalHandlers answer the requests about the journal.
type journalHandlers struct {
	engine    Journal
	streaming *streaming
}

func (h journalHandlers) routes() []route {
	return []route{
		{get, "/engine-lite/journal/check", h.check},
		{get, "/engine-lite/journal/dump", h.dump},
	}
}

// JournalFindings is the answer to a check: what is wrong.
type JournalFindings struct {
	Findings []string
}

// check checks the journal. Findings are no failure of the request.
func (h journalHandlers) check(w *response, r *request) error {
	found, err := h.engine.JournalCheck(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, JournalFindings{list(found)})
}

// dump streams records and events, a line of JSON each.
func (h journalHandlers) dump(w *response, r *request) error {
	o := store.DumpOptions{Records: r.flagOr("records", true)}
	if r.query.Has("cursor") {
		var err error
		if o.After, err = eventNumber("parameter cursor", r.query.Get("cursor")); err != nil {
			return err
		}
	}
	limit, err := r.number("limit")
	if err != nil {
		return err
	}
	if limit != nil {
		if o.Limit = *limit; o.Limit < 0 {
			return invalid("parameter limit has to be 0 or more, not %d", o.Limit)
		}
	}
	ctx, cancel := h.streaming.begin(r.Context())
	defer cancel()
	lines := w.records(ctx, types.MediaTypeNDJSON)
	return lines.finish(h.engine.JournalDump(ctx, o, func(line store.DumpLine) error { return lines.send(line) }))
}
