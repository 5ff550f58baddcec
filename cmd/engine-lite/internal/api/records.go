package api

import (
	"context"
	"io"
	"net/http"
	"sync"

	"github.com/moby/moby/api/types/jsonstream"
)

// records is an answer of one JSON document after the other. It begins with the
// first one, or with open: until then an error still has a status of its own.
// Documents may come from several goroutines.
type records struct {
	w     *response
	ctx   context.Context
	media string

	mu   sync.Mutex
	body io.Writer
	end  func() error
}

// records prepares an answer; finish has to be called.
func (w *response) records(ctx context.Context, media string) *records {
	return &records{w: w, ctx: ctx, media: media}
}

// open sends the header at once.
func (s *records) open() {
	s.w.Header().Set("Content-Type", s.media)
	s.w.Flush()
	s.begin()
}

func (s *records) begin() io.Writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.body == nil {
		s.w.Header().Set("Content-Type", s.media)
		s.body, s.end = s.w.body(s.ctx)
	}
	return s.body
}

// send sends v as one document.
func (s *records) send(v any) error {
	line, err := encodeJSON(v)
	if err != nil {
		return err
	}
	return s.write(line)
}

// write sends what is a document, or a frame around one, already.
func (s *records) write(p []byte) error {
	_, err := s.begin().Write(p)
	return err
}

// finish ends the answer. It returns err, or else what sending came to; where
// the client or the handler ended the stream, there is nothing to tell.
func (s *records) finish(err error) error {
	begun := s.end != nil
	if begun {
		if endErr := s.end(); err == nil {
			err = endErr
		}
	}
	switch {
	case begun && s.ctx.Err() != nil:
		return nil
	case begun || err != nil:
		return err
	}
	s.w.Header().Set("Content-Type", s.media)
	s.w.WriteHeader(http.StatusOK)
	return nil
}

// message is a progress message with the error's text a second time, where many
// libraries look for it.
type message struct {
	jsonstream.Message
	ErrorText string `json:"error,omitempty"`
}

// progress is the answer of a pull, a load or an import.
type progress struct {
	*records
}

func (w *response) progress(ctx context.Context) progress {
	return progress{w.records(ctx, "application/json")}
}

func (p progress) tell(m jsonstream.Message) error {
	full := message{Message: m}
	if m.Error != nil {
		full.ErrorText = m.Error.Message
	}
	return p.send(full)
}

// finish ends the answer, with err as its last message where it has begun.
func (p progress) finish(err error) error {
	if err == nil || p.end == nil {
		return p.records.finish(err)
	}
	failed := &jsonstream.Error{Code: statusOf(err), Message: err.Error()}
	return p.records.finish(p.tell(jsonstream.Message{Error: failed}))
}
