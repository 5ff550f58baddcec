package api

import (
	"context"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/events"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/eventstream"
)

// Events are the engine's events.
type Events interface {
	// Events calls fn for the events of the past that o asks for and then, as long
	// as o.Until isn't reached, for each new one. It returns when ctx ends.
	Events(ctx context.Context, o eventstream.Options, fn func(eventstream.Event) error) error
}

// eventHandlers answer the request for events.
type eventHandlers struct {
	engine    Events
	streaming *streaming
	heartbeat time.Duration
}

func (h eventHandlers) routes() []route {
	return []route{{get, "/events", h.events}}
}

// The answer to GET /events says which journal its numbers belong to, and the
// number of that journal's newest event when the answer began.
const (
	journalHeader = "Engine-Lite-Journal"
	newestHeader  = "Engine-Lite-Newest"
)

// events sends the header as soon as the engine has found the place to begin, and
// then each event as it comes.
func (h eventHandlers) events(w *response, r *request) error {
	media := eventsType(r.version, strings.Join(r.Header.Values("Accept"), ","))
	o, err := r.eventsOptions(media)
	if err != nil {
		return err
	}
	ctx, cancel := h.streaming.begin(r.Context())
	defer cancel()
	s := &eventStream{records: w.records(ctx, media), version: r.version}
	beating, still := context.WithCancel(ctx)
	defer still()
	o.Begin = func(p eventstream.Position) {
		w.Header().Set(journalHeader, p.Journal)
		w.Header().Set(newestHeader, strconv.FormatUint(p.Newest, 10))
		s.open()
		if media == mediaTypeEventStream {
			s.beat(beating, h.heartbeat)
		}
	}
	o.Omit = s.omit
	err = h.engine.Events(ctx, o, s.sendEvent)
	still()
	s.beating.Wait()
	return s.finish(err)
}

// eventsOptions reads the parameters. The place to begin is given by since, or by
// cursor, or by the header that a reader of server-sent events sends when it connects
// again.
func (r *request) eventsOptions(media string) (eventstream.Options, error) {
	filters, err := r.filters()
	if err != nil {
		return eventstream.Options{}, err
	}
	o := eventstream.Options{Filters: filters, Journal: r.query.Get("journal")}
	last := r.Header.Get("Last-Event-ID")
	if media == mediaTypeEventStream && last != "" {
		o.After, err = eventNumber("header Last-Event-ID", last)
	} else if r.query.Has("cursor") {
		if r.query.Get("since") != "" {
			return o, invalid("parameters cursor and since exclude each other")
		}
		o.After, err = eventNumber("parameter cursor", r.query.Get("cursor"))
	} else if r.query.Get("since") == "0" { // from the beginning, where elsewhere it is not set
		o.Since = time.Unix(0, 0)
	} else {
		o.Since, err = r.moment("since")
	}
	if err != nil {
		return o, err
	}
	if o.Until, err = r.moment("until"); err != nil {
		return o, err
	}
	if !o.Since.IsZero() && !o.Until.IsZero() && o.Until.Before(o.Since) {
		return o, invalid("parameter since (%s) cannot be after until (%s)", r.query.Get("since"), r.query.Get("until"))
	}
	return o, nil
}

func eventNumber(what, s string) (*uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return nil, invalid("%s has to be the number of an event, not %q", what, s)
	}
	return &n, nil
}

// eventTypes are the media types of an event stream that are sent to clients that ask
// for them. Docker has no server-sent events.
var eventTypes = []string{
	mediaTypeEventStream, types.MediaTypeJSONLines, types.MediaTypeNDJSON, types.MediaTypeJSONSequence,
}

// eventsType chooses the media type of an event stream: of those in eventTypes the one
// that the Accept header gives the highest quality. Without any it is the default of
// the version: before 1.52 that is JSON, although lines of JSON are sent. A wildcard
// means the default.
func eventsType(v version, accept string) string {
	best, bestQuality := types.MediaTypeJSONLines, 0.0
	if v.before(52) {
		best = types.MediaTypeJSON
	}
	for part := range strings.SplitSeq(accept, ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q, err := strconv.ParseFloat(params["q"], 64)
		if params["q"] == "" {
			q, err = 1, nil
		}
		if err == nil && q > bestQuality && slices.Contains(eventTypes, media) {
			best, bestQuality = media, q
		}
	}
	return best
}

// event is an event as it is sent: Docker's, and its place in the journal.
type event struct {
	events.Message
	Seq        uint64 `json:"seq"`
	Generation uint64 `json:"generation,omitempty"`
	Recovered  bool   `json:"recovered,omitempty"`
}

// oldEvent is an event before API 1.52: those of containers and images have some fields
// a second time, in the places of API 1.21.
type oldEvent struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	event
}

func eventMessage(e eventstream.Event, v version) any {
	current := event{Message: e.Message, Seq: e.Seq, Generation: e.Generation, Recovered: e.Recovered}
	if !v.before(52) {
		return current
	}
	old := oldEvent{event: current}
	if e.Type == events.ContainerEventType || e.Type == events.ImageEventType {
		old.Status, old.ID = string(e.Action), e.Actor.ID
	}
	if e.Type == events.ContainerEventType {
		old.From = e.Actor.Attributes["image"]
	}
	return old
}
