package api

import (
	"net/http"

	"github.com/moby/moby/api/types"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// JournalFindings is the answer to a check: what is wrong.
type JournalFindings struct {
	Findings []string
}

// journalCheck checks the journal. Findings are no failure of the request.
func (h *Handler) journalCheck(w *response, r *request) error {
	found, err := h.engine.JournalCheck(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, JournalFindings{list(found)})
}

// journalDump streams records and events, a line of JSON each.
func (h *Handler) journalDump(w *response, r *request) error {
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
	ctx, cancel := h.stream(r.Context())
	defer cancel()
	lines := w.records(ctx, types.MediaTypeNDJSON)
	return lines.finish(h.engine.JournalDump(ctx, o, func(line store.DumpLine) error { return lines.send(line) }))
}
