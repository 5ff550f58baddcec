package api

import (
	"mime"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/events"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

// recordSeparator goes before each document of a JSON text sequence (RFC 7464).
const recordSeparator = 0x1e

// events streams: the header at once, then each event as it comes.
func (h *Handler) events(w *response, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	o := engine.EventsOptions{Filters: filters}
	if o.Since, err = r.moment("since"); err != nil {
		return err
	}
	if r.query.Get("since") == "0" { // from the beginning, where elsewhere it is not set
		o.Since = time.Unix(0, 0)
	}
	if o.Until, err = r.moment("until"); err != nil {
		return err
	}
	if !o.Since.IsZero() && !o.Until.IsZero() && o.Until.Before(o.Since) {
		return invalid("parameter since (%s) cannot be after until (%s)", r.query.Get("since"), r.query.Get("until"))
	}
	ctx, cancel := h.stream(r.Context())
	defer cancel()
	media := eventsType(r.version, strings.Join(r.Header.Values("Accept"), ","))
	var mark []byte
	if media == types.MediaTypeJSONSequence {
		mark = []byte{recordSeparator}
	}
	s := w.records(ctx, media, mark)
	s.open()
	return s.finish(h.engine.Events(ctx, o, func(e engine.Event) error {
		return s.send(eventMessage(e, r.version))
	}))
}

// eventsType chooses the media type of an event stream: the one that Accept
// wants most of those that the version has, JSON where it wants none of them.
func eventsType(v version, accept string) string {
	offers := []string{types.MediaTypeJSON, types.MediaTypeNDJSON, types.MediaTypeJSONSequence, types.MediaTypeJSONLines}
	switch {
	case v.before(52):
		offers = offers[:1]
	case v.before(53):
		offers = offers[:3]
	}
	best, bestQuality := types.MediaTypeJSON, 0.0
	for part := range strings.SplitSeq(accept, ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q, err := strconv.ParseFloat(params["q"], 64)
		if params["q"] == "" {
			q, err = 1, nil
		}
		for _, offer := range offers {
			if err == nil && offer == media && q > bestQuality {
				best, bestQuality = offer, q
			}
		}
	}
	return best
}

// oldEvent is an event before API 1.52: containers and images have their fields
// a second time, in the places of API 1.21.
type oldEvent struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	events.Message
}

func eventMessage(e engine.Event, v version) any {
	if !v.before(52) {
		return e.Message
	}
	old := oldEvent{Message: e.Message}
	if e.Type == events.ContainerEventType || e.Type == events.ImageEventType {
		old.Status, old.ID = string(e.Action), e.Actor.ID
	}
	if e.Type == events.ContainerEventType {
		old.From = e.Actor.Attributes["image"]
	}
	return old
}
